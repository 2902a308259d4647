"""What bench.py needs of a PostgreSQL session, and of processes.

PostgreSQL's simple-query protocol over a Unix socket, without a driver: one
process and no program start lie between the clock and the server.
"""
import os
import socket
import struct
import threading


class Session:
    """A connection as the role of this process's user, trusted by the server."""

    def __init__(self, directory, port, user, database):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect('%s/.s.PGSQL.%s' % (directory, port))
        self.file = self.socket.makefile('rb')
        self.pid = None
        words = b''.join(word.encode() + b'\0' for word in ('user', user, 'database', database))
        self.socket.sendall(struct.pack('!ii', 9 + len(words), 196608) + words + b'\0')
        self.wait()

    def send(self, sql):
        """Starts a query (or several); wait() must follow."""
        data = sql.encode() + b'\0'
        self.socket.sendall(b'Q' + struct.pack('!i', 4 + len(data)) + data)

    def wait(self):
        """The rows of all its results, values as strings or None."""
        rows, error = [], None
        while True:
            kind, length = struct.unpack('!ci', self.file.read(5))
            data = self.file.read(length - 4)
            if kind == b'K':
                self.pid = struct.unpack('!i', data[:4])[0]
            elif kind == b'D':
                rows.append(row(data))
            elif kind == b'E':
                fields = {f[:1]: f[1:].decode() for f in data.split(b'\0') if f}
                error = '%s %s %s' % (fields[b'C'], fields[b'M'], fields.get(b'D', ''))
                if self.pid is None:
                    raise RuntimeError(error)
            elif kind == b'Z':
                if error:
                    raise RuntimeError(error)
                return rows

    def query(self, sql):
        self.send(sql)
        return self.wait()

    def value(self, sql):
        return self.query(sql)[0][0]

    def close(self):
        self.socket.sendall(b'X' + struct.pack('!i', 4))
        self.file.close()
        self.socket.close()


def row(data):
    values, at = [], 2
    for _ in range(struct.unpack('!h', data[:2])[0]):
        length = struct.unpack('!i', data[at:at + 4])[0]
        at += 4
        values.append(None if length < 0 else data[at:at + length].decode())
        at += max(length, 0)
    return values


def cpu_us(pid):
    """CPU time that a process has used, to the microsecond where the kernel tells."""
    try:
        with open('/proc/%d/schedstat' % pid) as file:
            return int(file.read().split()[0]) / 1000
    except FileNotFoundError:
        with open('/proc/%d/stat' % pid) as file:
            fields = file.read().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf('SC_CLK_TCK')


def read_bytes(pid):
    """What a process has had fetched from storage; None: the kernel does not tell."""
    try:
        with open('/proc/%d/io' % pid) as file:
            return int(dict(line.split(': ') for line in file)['read_bytes'])
    except OSError:
        return None


class Peak(threading.Thread):
    """The greatest private memory of a process, looked at every 20 ms."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid = pid
        self.peak = 0
        self.over = threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.02):
            self.peak = max(self.peak, rss_anon_mb(self.pid))

    def end(self):
        self.over.set()
        self.join()
        return max(self.peak, rss_anon_mb(self.pid))


def rss_anon_mb(pid):
    """Private memory of a process; 0: it is gone"""
    try:
        with open('/proc/%d/status' % pid) as file:
            for line in file:
                if line.startswith('RssAnon:'):
                    return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0


def stalled_us():
    """Time in which some process waited for a CPU, ours included; None: the kernel does not tell."""
    try:
        with open('/proc/pressure/cpu') as file:
            return int(file.readline().rpartition('=')[2])
    except OSError:
        return None
