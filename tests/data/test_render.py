"""The renderer: geometry against brute force, visibility by hand, invariants, refusals."""

import dataclasses
import math

import pytest
import torch

from di2pose_lib.base.skeleton import FLIP, JOINT_NAMES
from di2pose_lib.data import appearance as looks
from di2pose_lib.data import camera, render
from di2pose_lib.data.body_parts import PARTS, body_scale, ellipsoids

SIZE = (64, 48)

# A person who stands: left, up, front of the pelvis, metres.
STANDING = (
    ("pelvis", 0, 0, 0),
    ("right hip", -0.13, 0, 0),
    ("right knee", -0.13, -0.45, 0.01),
    ("right ankle", -0.13, -0.9, -0.02),
    ("left hip", 0.13, 0, 0),
    ("left knee", 0.13, -0.45, 0.01),
    ("left ankle", 0.13, -0.9, -0.02),
    ("spine", 0, 0.24, -0.01),
    ("thorax", 0, 0.49, -0.01),
    ("nose", 0, 0.6, 0.05),
    ("head", 0, 0.715, 0.02),
    ("left shoulder", 0.16, 0.45, -0.01),
    ("left elbow", 0.24, 0.19, -0.03),
    ("left wrist", 0.3, -0.05, 0.03),
    ("right shoulder", -0.16, 0.45, -0.01),
    ("right elbow", -0.24, 0.19, -0.03),
    ("right wrist", -0.3, -0.05, 0.03),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small pictures on a busy machine: waiting for a second thread takes longer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def person(yaw_deg=0.0, distance=4.0, **moved):
    """Camera-frame joints (1, 17, 3); at yaw 0 the person faces the camera."""
    moved = {name.replace("_", " "): place for name, place in moved.items()}
    assert [name for name, *_ in STANDING] == list(JOINT_NAMES)
    body = torch.tensor([moved.get(name, place) for name, *place in STANDING])
    cos, sin = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    left, up, front = body.unbind(-1)
    x, z = cos * left + sin * front, sin * left - cos * front
    return torch.stack([x, -up, z + distance], -1)[None]


def draws(num=1, seed=0):
    return looks.sample_appearance(num, torch.Generator().manual_seed(seed))


def with_colours(appearance, **colours):
    """The same looks, all of the palette black but the given colours."""
    palette = torch.zeros_like(appearance.palette)
    for name, colour in colours.items():
        palette[:, looks.PALETTE.index(name)] = torch.tensor(colour)
    return dataclasses.replace(appearance, palette=palette)


def picture_of(joints, appearance, size=SIZE, **options):
    intrinsics = camera.crop_intrinsics(joints, size)
    return render.render(joints, intrinsics, appearance, size, **options)


def one_shape(centre, half_size, angle=0.0, is_ellipse=False, present=True):
    """One red occluder in one picture."""
    return looks.Occluders(
        centre=torch.tensor([[centre]], dtype=torch.float32),
        half_size=torch.tensor([[half_size]], dtype=torch.float32),
        angle=torch.tensor([[angle]]),
        is_ellipse=torch.tensor([[is_ellipse]]),
        present=torch.tensor([[present]]),
        colours=torch.tensor([1.0, 0.0, 0.0]).expand(1, 1, 2, 3),
        cycles=torch.zeros(1, 1),
    )


def names(mask):
    return {name for name, flag in zip(JOINT_NAMES, mask.tolist(), strict=True) if flag}


def test_nearest_surface_agrees_with_the_quadratic_of_every_ray_in_double_precision():
    joints = torch.cat([person(yaw) for yaw in (0, 70, 200)])
    centre, matrix = ellipsoids(joints, torch.tensor([0.9, 1.0, 1.2]), body_scale(joints))
    x, y = torch.linspace(-0.15, 0.15, 41), torch.linspace(-0.25, 0.3, 53)
    shapes = render._Silhouettes(centre, matrix)
    inverse, part = render._nearest(shapes, x.expand(3, -1), y.expand(3, -1))

    ray = torch.stack([*torch.meshgrid(x, y, indexing="xy"), torch.ones(53, 41)], -1).double()
    a_ray = torch.einsum("bpij,hwj->bphwi", matrix.double(), ray)
    m = torch.einsum("bpij,bpj->bpi", matrix.double(), centre.double())[:, :, None, None]
    a, b, c = a_ray.square().sum(-1), (a_ray * m).sum(-1), m.square().sum(-1) - 1.0
    distance = (b - (b * b - a * c).sqrt()) / a  # NaN where the ray misses
    distance = distance.nan_to_num(nan=float("inf"))
    nearest, which = distance.min(dim=1)

    hit = nearest.isfinite()
    assert 0.05 < hit.double().mean() < 0.6
    margin = (b * b - a * c).amax(1).abs() / (b * b).amax(1)  # grazing rays may fall either way
    torch.testing.assert_close((inverse > 0)[margin > 1e-7], hit[margin > 1e-7])
    both = hit & (inverse > 0)
    torch.testing.assert_close(1.0 / inverse[both].double(), nearest[both], atol=2e-3, rtol=0)
    error = (1.0 / inverse[both].double() - nearest[both]).abs()
    assert error.median() < 2e-5
    assert (part[both] == which[both]).double().mean() > 0.99
    assert len(which[both].unique()) >= len(PARTS) - 2


def test_a_part_number_fits_the_bits_reserved_for_it():
    assert len(PARTS) <= render.PART_BITS + 1


def test_bytes_do_not_depend_on_the_chunk_size():
    joints = torch.cat([person(yaw) for yaw in range(0, 360, 51)])
    appearance = draws(len(joints))
    points = camera.project(joints, camera.crop_intrinsics(joints, SIZE))
    shapes = looks.sample_occluders(points, SIZE, torch.Generator().manual_seed(1), 0.2)
    whole = picture_of(joints, appearance, occluders=shapes)
    for chunk_size in (1, 3, 5):
        chunks = picture_of(joints, appearance, occluders=shapes, chunk_size=chunk_size)
        for field in dataclasses.fields(whole):
            assert torch.equal(getattr(whole, field.name), getattr(chunks, field.name)), field.name


def test_a_chunk_is_all_that_is_drawn_at_once(monkeypatch):
    seen = []

    def paint(appearance, image_size):
        seen.append(len(appearance))
        return looks.paint_background(appearance, image_size)

    monkeypatch.setattr(render, "paint_background", paint)
    picture_of(person().expand(7, -1, -1), draws(7), chunk_size=3)
    assert seen == [3, 3, 1]


def test_the_seed_decides_the_picture():
    first, again, other = (picture_of(person(), draws(seed=seed)).images for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nothing_is_created_on_the_default_device():
    joints, appearance = person(30), draws()
    intrinsics = camera.crop_intrinsics(joints, SIZE)
    shapes = one_shape([20.0, 30.0], [4.0, 4.0])
    expected = render.render(joints, intrinsics, appearance, SIZE, shapes)
    with torch.device("meta"):  # a tensor made without a device would be empty here
        got = render.render(joints, intrinsics, appearance, SIZE, shapes)
    assert torch.equal(got.images, expected.images)
    assert torch.equal(got.visible, expected.visible)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_picture():
    joints, appearance = torch.cat([person(yaw) for yaw in (0, 100)]), draws(2)
    intrinsics = camera.crop_intrinsics(joints, SIZE)
    expected = render.render(joints, intrinsics, appearance, SIZE)
    got = render.render(joints.cuda(), intrinsics.cuda(), appearance.to("cuda"), SIZE)
    off = (got.images.cpu().int() - expected.images.int()).abs() > 2
    assert off.double().mean() < 0.01
    assert torch.equal(got.visible.cpu(), expected.visible)


def test_joints_land_where_the_camera_projects_them():
    joints = person()
    intrinsics = torch.tensor([[100.0, 120.0, 24.0, 30.0]])
    picture = render.render(joints, intrinsics, draws(), SIZE)
    # The pelvis is on the axis; the left hip 0.13 m to its left at 4 m.
    torch.testing.assert_close(picture.joints_2d[0, 0], torch.tensor([24.0, 30.0]))
    torch.testing.assert_close(picture.joints_2d[0, 4], torch.tensor([24.0 + 3.25, 30.0]))


def test_the_body_is_drawn_over_its_joints_and_nowhere_far_from_them():
    joints, appearance = person(40), with_colours(draws())
    appearance = dataclasses.replace(appearance, wall=torch.ones(1, 3, 2))
    white = dataclasses.replace(
        appearance,
        horizon=torch.full((1,), 2.0),
        stripes=torch.zeros(1, 3),
        grid=torch.zeros(1, 3, *looks.GRID_SIZE),
        box_colours=torch.ones(1, looks.NUM_BOXES, 3),
    )
    picture = picture_of(joints, white)
    dark = picture.images[0].amax(0) < 128  # (H, W): a black body before a white wall
    column, row = picture.joints_2d[0].round().long().unbind(-1)
    assert dark[row, column].all()
    pixels = torch.stack(torch.meshgrid(torch.arange(48), torch.arange(64), indexing="xy"), -1)
    gaps = (pixels[:, :, None] - picture.joints_2d[0]).norm(dim=-1).amin(-1)
    assert not dark[gaps > 9].any()


def test_a_mirrored_person_gives_the_mirrored_picture():
    joints, appearance = person(25, left_wrist=[0.2, 0.3, 0.4]), draws()
    appearance = dataclasses.replace(
        appearance,
        grid=appearance.grid * 0,
        stripes=appearance.stripes * 0,
        boxes=appearance.boxes * 0,
    )
    intrinsics = torch.tensor([[130.0, 130.0, 20.0, 31.0]])
    flip = torch.tensor([-1.0, 1.0, 1.0])
    twin = (joints * flip)[:, FLIP]
    twin_looks = dataclasses.replace(appearance, light=appearance.light * flip)
    twin_intrinsics = torch.tensor([[130.0, 130.0, 27.0, 31.0]])  # 47 − 20
    picture = render.render(joints, intrinsics, appearance, SIZE)
    mirrored = render.render(twin, twin_intrinsics, twin_looks, SIZE)
    gap = (picture.images.flip(-1).int() - mirrored.images.int()).abs()
    assert (gap > 2).double().mean() < 2e-3
    assert torch.equal(picture.visible[:, FLIP], mirrored.visible)


def test_a_person_twice_as_large_and_twice_as_far_looks_the_same():
    joints = person(60)
    appearance = dataclasses.replace(draws(), falloff=torch.zeros(1))
    intrinsics = camera.crop_intrinsics(joints, SIZE)
    near = render.render(joints, intrinsics, appearance, SIZE)
    far = render.render(2.0 * joints, intrinsics, appearance, SIZE)
    gap = (near.images.int() - far.images.int()).abs()
    assert (gap > 2).double().mean() < 2e-3
    assert torch.equal(near.visible, far.visible)


def test_front_and_back_differ_by_face_panel_and_hair():
    red, green, blue = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]
    appearance = with_colours(draws(), skin=red, panel=green, hair=blue)
    appearance = dataclasses.replace(  # black room, long sleeves and trousers
        appearance,
        wall=torch.zeros(1, 3, 2),
        floor=torch.zeros(1, 3),
        stripes=torch.zeros(1, 3),
        grid=torch.zeros(1, 3, *looks.GRID_SIZE),
        box_colours=torch.zeros(1, looks.NUM_BOXES, 3),
        sleeve=torch.full((1,), 2.0),
        trouser=torch.full((1,), 2.0),
    )
    amounts = {}
    for yaw in (0, 45, 90, 180, 315):
        picture = picture_of(person(yaw), appearance, (128, 96))
        chin = int(picture.joints_2d[0, JOINT_NAMES.index("thorax"), 1])
        head = picture.images[0, :, :chin].float().sum((1, 2))
        amounts[yaw] = (head[0], picture.images[0, 1].float().sum(), head[2])
    (face, panel, hair), (no_face, no_panel, more_hair) = amounts[0], amounts[180]
    assert panel > 5000 and no_panel == 0
    assert face > 1.5 * no_face and more_hair > 1.5 * hair
    for yaw in (45, 315):
        assert panel > amounts[yaw][1] > amounts[90][1]


def test_the_face_turns_with_the_nose():
    joints = person()
    nose = JOINT_NAMES.index("nose")
    left = joints.clone()
    left[0, nose, :2] += torch.tensor([0.06, 0.0])
    eyes = [n for n, *_ in PARTS].index("eyes")
    centres = [ellipsoids(j, torch.ones(1), body_scale(j))[0][0, eyes] for j in (joints, left)]
    assert centres[1][0] - centres[0][0] > 0.03
    assert centres[0][2] < joints[0, JOINT_NAMES.index("head"), 2]  # towards the camera


def test_an_arm_behind_the_back_is_hidden_from_the_front_only():
    behind = {"right_elbow": [-0.2, 0.2, -0.2], "right_wrist": [0.0, 0.1, -0.3]}
    front = picture_of(person(0, **behind), draws())
    back = picture_of(person(180, **behind), draws())
    assert names(front.self_occluded[0]) == {"right wrist"}
    assert "right wrist" not in names(back.self_occluded[0])
    assert not front.covered.any()
    assert names(~front.visible[0]) == {"right wrist"}


def test_from_the_side_the_far_limbs_are_hidden_and_the_near_ones_seen():
    picture = picture_of(person(90), draws())
    hidden = names(picture.self_occluded[0])  # at yaw 90 the left side is the far one
    assert {"left hip", "left knee", "left ankle", "left shoulder", "left elbow"} <= hidden
    near = {"right knee", "right ankle", "right shoulder", "right elbow", "right wrist"}
    assert not near & hidden
    assert "right hip" in hidden  # behind the near forearm


def test_everything_of_a_person_who_stands_in_front_is_visible():
    assert picture_of(person(0), draws()).visible.all()


def test_depth_order_runs_from_near_to_far():
    joints = person(50)
    order = picture_of(joints, draws()).depth_order
    depth = joints[0, order[0], 2]
    assert (depth.diff() >= 0).all()
    assert sorted(order[0].tolist()) == list(range(17))


def test_a_rectangle_covers_the_joints_under_it_and_paints_its_pixels():
    joints, appearance = person(), draws()
    clear = picture_of(joints, appearance)
    wrist = clear.joints_2d[0, JOINT_NAMES.index("left wrist")].tolist()
    picture = picture_of(joints, appearance, occluders=one_shape(wrist, [3.0, 2.0]))
    assert names(picture.covered[0]) == {"left wrist"}
    assert names(~picture.visible[0]) == {"left wrist"}
    column, row = (round(value) for value in wrist)
    assert picture.images[0, :, row, column].tolist() == [255, 0, 0]
    changed = (picture.images != clear.images).any(1)[0]
    rows, columns = changed.nonzero(as_tuple=True)
    assert rows.min() >= wrist[1] - 2.5 and rows.max() <= wrist[1] + 2.5
    assert columns.min() >= wrist[0] - 3.5 and columns.max() <= wrist[0] + 3.5


def test_distance_to_shapes_by_hand():
    points = torch.tensor([[[10.0, 10.0], [14.0, 10.0], [10.0, 12.0], [13.0, 11.5]]])

    def distance(**options):
        return looks.occluder_distance(one_shape([10.0, 10.0], [4.0, 2.0], **options), points)[0][
            0, 0
        ]

    box = distance()
    torch.testing.assert_close(box, torch.tensor([-2.0, 0.0, 0.0, -0.5]))
    ellipse = distance(is_ellipse=True)
    assert ellipse[0] < -1 and ellipse[3] > 0  # (3/4)² + (1.5/2)² = 1.125 > 1
    torch.testing.assert_close(ellipse[1:3], torch.zeros(2))
    turned = distance(angle=math.pi / 2)  # now 2 wide and 4 high
    torch.testing.assert_close(turned[1:3], torch.tensor([2.0, -2.0]))
    assert distance(present=False).isposinf().all()


def test_joints_outside_the_image_are_covered():
    intrinsics = torch.tensor([[100.0, 100.0, 24.0, 63.0]])  # the pelvis in the lowest row
    picture = render.render(person(), intrinsics, draws(), SIZE)
    below = {name for name in JOINT_NAMES if name.endswith(("knee", "ankle"))}
    assert below <= names(picture.covered[0])
    assert "thorax" not in names(picture.covered[0])


def test_occluders_follow_their_documented_distribution():
    joints_2d = torch.rand(2000, 17, 2, generator=torch.Generator().manual_seed(0)) * 40
    generator = torch.Generator().manual_seed(5)
    shapes = looks.sample_occluders(joints_2d, SIZE, generator, clear_share=0.25)
    count = shapes.present.sum(1)
    for number, share in enumerate((0.25, 0.375, 0.375)):
        assert abs((count == number).double().mean().item() - share) < 0.04
    extent = joints_2d.amax(1) - joints_2d.amin(1)
    side = 2.0 * shapes.half_size / extent.prod(-1).sqrt()[:, None, None]
    assert 0.2 <= side.min() < 0.21 and 0.59 < side.max() <= 0.6
    offset = (shapes.centre[:, :, None] - joints_2d[:, None]).abs() / extent[:, None, None]
    assert offset.amax(-1).amin(-1).max() <= 0.1 + 1e-5
    assert abs(shapes.is_ellipse.double().mean().item() - 0.5) < 0.04


def test_clear_share_is_a_probability_at_both_ends():
    joints_2d = torch.rand(50, 17, 2) * 40
    for share, expected in ((0.0, True), (1.0, False)):
        shapes = looks.sample_occluders(joints_2d, SIZE, torch.Generator(), clear_share=share)
        assert (shapes.present.any(1) == expected).all()


def test_appearances_are_valid_colours_and_keep_front_and_legs_apart():
    appearance = draws(500)
    assert len(appearance) == 500
    for colours in (appearance.palette, appearance.wall, appearance.floor, appearance.box_colours):
        assert colours.min() >= 0.0 and colours.max() <= 1.0
    value = {name: appearance.palette[:, i].amax(-1) for i, name in enumerate(looks.PALETTE)}
    assert (value["upper"] - value["panel"]).abs().min() > 0.2
    assert (value["upper"] - value["lower"]).abs().min() > 0.19
    torch.testing.assert_close(appearance.light.norm(dim=-1), torch.ones(500))


def test_rows_of_an_appearance_repeat_for_the_frames_of_a_sequence():
    appearance = draws(3)
    frames = appearance.index(torch.tensor([2, 2, 0]))
    assert len(frames) == 3
    for field in dataclasses.fields(appearance):
        source, rows = getattr(appearance, field.name), getattr(frames, field.name)
        assert torch.equal(rows[0], source[2]) and torch.equal(rows[2], source[0])
    images = picture_of(person().expand(3, -1, -1), frames).images
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])


def test_a_pose_without_extent_still_renders():
    joints = torch.zeros(1, 17, 3) + torch.tensor([0.0, 0.0, 3.0])
    intrinsics = torch.tensor([[200.0, 200.0, 24.0, 32.0]])
    appearance = draws()
    picture = render.render(joints, intrinsics, appearance, SIZE)
    background = looks.paint_background(appearance, SIZE).mul(255).round().to(torch.uint8)
    changed = (picture.images.int() - background.int()).abs().amax(1)[0] > 2
    assert changed[32, 24] and not changed[0, 0]


def test_a_body_that_is_not_in_front_of_the_camera_is_refused():
    joints = person()
    intrinsics = camera.crop_intrinsics(joints, SIZE)
    for wrong, sentence in (
        (-joints, "in front of the camera"),
        (person(distance=0.15), "whole body in front of the camera"),
    ):
        with pytest.raises(ValueError, match=sentence):
            render.render(wrong, intrinsics, draws(), SIZE)
