"""One peer of libtorrent, for the lab: `seed FILE TORRENT IP` or `get TORRENT FOLDER IP PEER...`.

Prints `ready` when it listens and `done` when it has everything, and goes on giving until killed.
"""

import os
import sys
import time

import libtorrent as lt

PORT = 6881
PIECE = 256 * 1024


def session(ip):
    return lt.session({
        "listen_interfaces": f"{ip}:{PORT}",
        "enable_dht": False,
        "enable_lsd": False,
        "enable_natpmp": False,
        "enable_upnp": False,
        # All peers are known and reachable: none is to be waited for.
        "connection_speed": 100,
        "min_reconnect_time": 1,
        "allow_multiple_connections_per_ip": True,
        "alert_mask": 0,
    })


def torrent_of(path, to):
    files = lt.file_storage()
    lt.add_files(files, path)
    made = lt.create_torrent(files, PIECE)
    lt.set_piece_hashes(made, os.path.dirname(path))
    with open(to, "wb") as file:
        file.write(lt.bencode(made.generate()))


def main():
    what = sys.argv[1]
    if what == "seed":
        path, torrent, ip, peers = sys.argv[2], sys.argv[3], sys.argv[4], []
        torrent_of(path, torrent)
        folder = os.path.dirname(path)
    else:
        torrent, folder, ip, peers = sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:]
    running = session(ip)
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(torrent)
    params.save_path = folder
    params.flags &= ~lt.torrent_flags.auto_managed
    params.flags &= ~lt.torrent_flags.paused
    handle = running.add_torrent(params)
    is_done = False
    told = False
    while True:
        status = handle.status()
        if not told and not status.state == lt.torrent_status.checking_files:
            print("ready", flush=True)
            told = True
            # The others begin at the same moment.
            sys.stdin.readline()
        if told and status.num_peers < len(peers):
            for peer in peers:
                handle.connect_peer((peer, PORT))
        if not is_done and status.is_seeding:
            print("done", flush=True)
            is_done = True
        time.sleep(0.05)


main()
