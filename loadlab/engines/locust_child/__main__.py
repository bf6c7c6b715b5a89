"""The load generator's own process. Patching comes first: sockets imported before it would block every request at once."""

from gevent import monkey

monkey.patch_all()

from loadlab.engines.locust_child.main import main  # noqa: E402

if __name__ == "__main__":
    main()
