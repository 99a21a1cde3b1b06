"""trap.py INTERFACE DNS_ADDRESS NAMES LOG: what a packet meets that leaves a studio.

Answers DNS at DNS_ADDRESS for the names in the file NAMES (`NAME ADDRESS...`: the first question gets the first address, the
last address is for all that follow) and writes a line to LOG for each question, and for each packet on INTERFACE that goes
to an address outside of the studio's network. Nothing else is answered."""
import ipaddress, socket, struct, sys, threading

interface, at, names, log_path = sys.argv[1:]
studio = ipaddress.ip_network("10.78.0.0/24")
log = open(log_path, "a", buffering=1)
asked = {}


def answers(name):
    for line in open(names):
        known, *addresses = line.split()
        if known == name:
            count = asked[name] = asked.get(name, 0) + 1
            return [addresses[min(count, len(addresses)) - 1]]
    return []


def serve():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((at, 53))
        while True:
            question, who = server.recvfrom(512)
            labels, place = [], 12
            while question[place]:
                labels.append(question[place + 1 : place + 1 + question[place]].decode())
                place += 1 + question[place]
            name, kind = ".".join(labels), struct.unpack(">H", question[place + 1 : place + 3])[0]
            log.write(f"dns {name}\n")
            found = answers(name) if kind == 1 else []
            records = b"".join(struct.pack(">HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(a) for a in found)
            head = struct.pack(">2sHHHHH", question[:2], 0x8180, 1, len(found), 0, 0)
            server.sendto(head + question[12 : place + 5] + records, who)


threading.Thread(target=serve, daemon=True).start()
with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as packets:
    packets.bind((interface, 0x0800))
    log.write("ready\n")
    while True:
        packet, (_, _, direction, *_) = packets.recvfrom(65535)
        to = ipaddress.ip_address(packet[16:20])
        if direction != socket.PACKET_OUTGOING and to not in studio and not to.is_multicast:
            log.write(f"packet {ipaddress.ip_address(packet[12:16])} {to} {packet[9]}\n")
