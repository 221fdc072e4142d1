"""The kernel of a stage: `python -m di2pose_lib.kernel -f CONNECTION_FILE`.

IPython's own, but for the settings of its user and its machine: a profile, /etc/ipython,
PYTHONSTARTUP and their like can change what a cell shows, and so a report's bytes. IPython
has no option that passes over all of them.
"""

from ipykernel.kernelapp import IPKernelApp


class PlainKernelApp(IPKernelApp):
    """The program around the kernel; it is configured by its command line alone."""

    def initialize(self, argv=None):
        """IPython's, and an interrupt between two cells is no line of the stage's own.

        jupyter_client interrupts every kernel before it stops it, and the kernel says so
        or not, as it happens to be waiting or working.
        """
        super().initialize(argv)
        self.log.addFilter(lambda record: "KeyboardInterrupt caught" not in record.getMessage())

    def load_config_file(self, *args, **kwargs):
        """No file, in whatever folder."""

    def _run_startup_files(self):
        """None either."""


if __name__ == "__main__":
    PlainKernelApp.launch_instance()
