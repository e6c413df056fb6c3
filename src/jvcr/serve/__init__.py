"""The service: landmarks over HTTP and WebSocket, and a page to look at them. `jvcr.serve.app.make_app` makes it.

Nothing is imported here: the processes of `jvcr.serve.decode` begin sooner.
"""
