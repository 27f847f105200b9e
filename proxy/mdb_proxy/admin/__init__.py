"""The admin port: is the proxy alive, is it ready, and its numbers. For operators, over HTTP."""

from mdb_proxy.admin.app import Watch, admin_app, serving

__all__ = ["Watch", "admin_app", "serving"]
