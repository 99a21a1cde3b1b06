"""redirect.py ADDRESS PORT LOCATION: answers every request with a redirect there."""
import http.server, sys


class Elsewhere(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.send_response(307)
        self.send_header("Location", sys.argv[3])
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Elsewhere).serve_forever()
