"""A picture as PNG bytes, without an imaging library and without a time stamp."""

import base64
import struct
import zlib

from di2pose_lib.base.checks import check_tensor


def png_bytes(image):
    """The PNG file of an RGB image uint8 (3, H, W)."""
    sizes = check_tensor("image", image, (3, "H", "W"), "uint8")
    # each row of pixels is preceded by the number of its filter, 0 for none
    rows = [b"\0" + row.numpy().tobytes() for row in image.cpu().permute(1, 2, 0).contiguous()]
    header = struct.pack(">IIBBBBB", sizes["W"], sizes["H"], 8, 2, 0, 0, 0)  # 8 bit, RGB
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 9)), (b"IEND", b"")]
    file = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        file += struct.pack(">I", len(data)) + kind + data
        file += struct.pack(">I", zlib.crc32(kind + data))
    return file


def png_data_uri(image):
    """The PNG of an RGB image uint8 (3, H, W) as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()
