//! Every size that comes off the wire, limited by name, in one place.
//!
//! Units are bytes unless the name says otherwise. A value above its limit is refused before
//! anything is allocated for it.

/// Largest frame on a service stream, length prefix excluded. Fits one event of the largest body.
pub const MAX_FRAME: usize = 256 * 1024;
/// Largest frame of those that anyone may send at any time, many at once: an open, a claim on an
/// invite, a certificate. The largest of them is near 600; the rest is headroom for newer peers.
pub const MAX_SHORT_FRAME: usize = 8 * 1024;
/// Largest event header. The format's own maximum is near 700; the rest is headroom for `rules`.
pub const MAX_HEADER: usize = 1024;
/// Largest text of one message, in UTF-8 bytes.
pub const MAX_TEXT: usize = 64 * 1024;
/// Longest caption of an attachment: with its names, thumbnail and paths the body stays below [`MAX_BODY`].
pub const MAX_CAPTION: usize = 32 * 1024;
/// Largest event body as sent: the largest text, its CBOR frame, nonce and tag.
pub const MAX_BODY: usize = MAX_TEXT + 1024;
/// Most dependencies of a control event (DESIGN.md 4: the rest stay heads).
pub const MAX_CONTROL_DEPS: usize = 8;
/// Most dependency hints of a chat event.
pub const MAX_CHAT_DEPS: usize = 4;
/// Longest display name of a person or a room, in UTF-8 bytes.
pub const MAX_NAME: usize = 128;
/// Largest content that is begun to be fetched: a pebibyte, beyond any disk of a person. What is larger is
/// a mistake or an attack, and arithmetic on sizes stays far from its end.
pub const MAX_CONTENT: u64 = 1 << 50;
/// Longest name of a file, in UTF-8 bytes: that of the common file systems.
pub const MAX_FILE_NAME: usize = 255;
/// Longest relative path of a file in a folder; below the 4096 of Linux with room for where it goes.
pub const MAX_FILE_PATH: usize = 2048;
/// Most files of a folder: its list then has 2 MiB. More travel as one archive.
pub const MAX_FOLDER_FILES: usize = 64 * 1024;
/// Contents that one question after who has them names, at most: it is a short frame.
pub const MAX_HELD: usize = 200;
/// Most components of such a path.
pub const MAX_PATH_DEPTH: usize = 64;
/// Longest media type: RFC 6838 allows 127 bytes on each side of the slash; real ones have below 80.
pub const MAX_MEDIA_TYPE: usize = 127;
/// Largest thumbnail inside an event. A picture of 256 pixels a side has near 8 KiB as JPEG.
pub const MAX_THUMBNAIL: usize = 16 * 1024;
/// Longest side of a picture in pixels, as an event may claim: that of the formats in use (JPEG).
pub const MAX_PIXEL_SIDE: usize = 65_536;
/// Largest thumbhash (its format ends at 25 bytes).
pub const MAX_THUMBHASH: usize = 32;
/// Longest topic of a room.
pub const MAX_TOPIC: usize = 1024;
/// Most headers of void events in one proof of a fork.
pub const MAX_FORK_VOID: usize = 32;
/// Most proofs of forks that are remembered before they can be taken in; each is at most one body. Several
/// devices that declare several thousand void events at once have as many under way.
pub const MAX_HEARD_FORKS: usize = 64;
/// Most control events of one log, which is one device's in one term. It bounds what a device can make all
/// others keep in one term, void or not; it may state more terms for itself. It looks at nothing but the log
/// itself, so every replica keeps the same. An admin who lets in, removes and makes keys for 1,000 members
/// who all change within a year writes near 5,000 in it: more than six years of that fit.
pub const MAX_CONTROL_LOG_EVENTS: u64 = 32 * 1024;
/// Most bytes of one control log, counted as [`crate::event::Event::size`]: its most events at 1 KiB,
/// a little more than an admission.
pub const MAX_CONTROL_LOG_BYTES: u64 = 32 * 1024 * 1024;
/// Events at the end of a control log that its author keeps for leaving, which gathers heads before.
pub const CONTROL_LOG_RESERVE_EVENTS: u64 = 64;
/// Bytes that go with them: a full cut has near 6 KiB, an event that gathers heads less than 1 KiB.
pub const CONTROL_LOG_RESERVE_BYTES: u64 = 128 * 1024;
/// Longest name of a service, without its version.
pub const MAX_SERVICE_NAME: usize = 64;
/// Most services listed in one `Hello`.
pub const MAX_SERVICES: usize = 256;
/// Largest event, whole, that is handed to gossip (its messages end at 4096 with their envelope).
pub const MAX_GOSSIP_EVENT: usize = 3584;
/// Payload bytes of events that a sender puts in one `Run` frame before it closes the frame.
pub const RUN_TARGET: usize = 64 * 1024;
/// Most events in one `Run` frame, so that the receiver's work per frame is bounded.
pub const MAX_RUN_EVENTS: usize = 512;
/// Most logs in one `Have` frame; a longer frontier takes several frames.
pub const MAX_FRONTIER_LOGS: usize = 1024;
/// Most runs in one `Have` frame, all logs together: with them it stays below [`MAX_FRAME`].
pub const MAX_FRONTIER_RUNS: usize = 4096;
/// Most separate runs of one log that a frontier may name.
pub const MAX_RUNS_PER_LOG: usize = 64;
/// Most logs that are remembered of what a peer claims beyond what is held here: 10,000 members with three
/// logs each. Of more the rest comes in a further session.
pub const MAX_TOTAL_LOGS: usize = 32 * 1024;
/// Most separate runs of these; in order there is one a log.
pub const MAX_TOTAL_RUNS: usize = 64 * 1024;
/// Events that one `Want` asks for, at most; of a peer that has answered for few, fewer.
pub const MAX_WANT_EVENTS: u64 = 8192;
/// `Want`s of one peer that may be unanswered at a time; one more ends the session.
pub const MAX_WANTS_IN_FLIGHT: usize = 4;
/// Most ranges in one `Want` frame.
pub const MAX_WANT_RANGES: usize = 512;
/// Newest messages that a newcomer asks for at once (DESIGN.md 4).
pub const NEWEST_MESSAGES: u32 = 200;
/// Largest `newest` that a peer serves in one `Want`.
pub const MAX_NEWEST: u32 = 1000;
/// Most peer addresses in one frame of peer exchange, and in one ticket.
pub const MAX_PEER_ADDRS: usize = 16;
/// Most direct addresses kept for one peer.
pub const MAX_DIRECT_ADDRS: usize = 8;
/// Longest relay address.
pub const MAX_RELAY_URL: usize = 256;
/// Longest ticket text.
pub const MAX_TICKET_TEXT: usize = 8 * 1024;
/// Most founders of a room.
pub const MAX_FOUNDERS: usize = 16;
/// Most logs named by one cut.
pub const MAX_CUT_LOGS: usize = 64;
/// Most epochs asked for at once, and handed over in one reply of `join` or `keys`: sealing one costs
/// a tenth of a millisecond, and who misses more asks again.
pub const MAX_EPOCHS: usize = 64;
/// Most parents of an epoch.
pub const MAX_EPOCH_PARENTS: usize = 8;
/// How far ahead of our clock an event may be dated and still be shown at once, in milliseconds.
pub const MAX_AHEAD_MS: u64 = 10 * 60 * 1000;
/// Largest request to a service that the caller's peer accepts by default.
pub const MAX_REQUEST: usize = 1024 * 1024;
/// Largest reply of a service by default.
pub const MAX_REPLY: usize = 16 * 1024 * 1024;
