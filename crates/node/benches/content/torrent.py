"""One end of a transfer with libtorrent: plain TCP between two peers, no encryption, no discovery.

give FILE FOLDER: makes a torrent (version 1, whose pieces are checked by SHA-1) and seeds it.
take FOLDER "PORT TORRENT": says "ready", waits for a line, fetches it, says how many seconds it took.
Both end with their standard input.
"""

import os
import sys
import time

import libtorrent as lt

DEADLINE_S = 600


def session():
    plain = int(lt.enc_policy.pe_disabled)
    return lt.session({
        "listen_interfaces": "127.0.0.1:0",
        "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.error_notification,
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_outgoing_utp": False,
        "enable_incoming_utp": False,
        "out_enc_policy": plain,
        "in_enc_policy": plain,
        "allow_multiple_connections_per_ip": True,
        # The manual's advice for fast peers: enough under way that neither waits for the other.
        "send_buffer_watermark": 3 * 1024 * 1024,
        "send_buffer_low_watermark": 512 * 1024,
        "max_out_request_queue": 2000,
        "max_allowed_in_request_queue": 4000,
    })


def add(here, info, folder, seeding):
    parameters = lt.add_torrent_params()
    parameters.ti = info
    parameters.save_path = folder
    parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    if seeding:
        parameters.flags |= lt.torrent_flags.seed_mode
    return here.add_torrent(parameters)


def give(path, folder):
    files = lt.file_storage()
    lt.add_files(files, path)
    torrent = lt.create_torrent(files, 0, lt.create_torrent.v1_only)
    lt.set_piece_hashes(torrent, os.path.dirname(path))
    name = os.path.join(folder, "file.torrent")
    with open(name, "wb") as out:
        out.write(lt.bencode(torrent.generate()))
    here = session()
    handle = add(here, lt.torrent_info(name), os.path.dirname(path), True)
    assert handle.status().is_seeding
    print(here.listen_port(), name, flush=True)
    sys.stdin.read()


def take(folder, given):
    port, name = given.split(" ", 1)
    here, info = session(), lt.torrent_info(name)
    print("ready", flush=True)
    sys.stdin.readline()
    begun = time.monotonic()
    handle = add(here, info, folder, False)
    handle.connect_peer(("127.0.0.1", int(port)))
    finished = False
    while not finished:
        here.wait_for_alert(1000)
        finished = any(isinstance(it, lt.torrent_finished_alert) for it in here.pop_alerts())
        if time.monotonic() - begun > DEADLINE_S:
            raise SystemExit(f"only {handle.status().progress:.0%} came")
    print(time.monotonic() - begun, flush=True)
    sys.stdin.read()


{"give": give, "take": take}[sys.argv[1]](*sys.argv[2:])
