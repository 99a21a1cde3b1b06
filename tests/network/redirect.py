"""redirect.py ADDRESS PORT LOCATION: answers every request with a redirect there."""
import http.server, socketserver, sys


class Elsewhere(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.send_response(307)
        self.send_header("Location", sys.argv[3])
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

    def log_message(self, *_):
        pass


# http.server's own would ask for its name by DNS, and the trap counts that.
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer((sys.argv[1], int(sys.argv[2])), Elsewhere).serve_forever()
