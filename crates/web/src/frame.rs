//! What the WebSockets of `provide` and `forward` carry, the same for server and client.
//!
//! Text frames are a [`Notice`] in JSON, from the server only. Binary frames belong to `provide`:
//! - request, server → client: `id: u64 ‖ caller: 32 ‖ data`
//! - reply, client → server: `id: u64 ‖ outcome: u8 ‖ data`, outcome 0 the reply, 1 an error in UTF-8
//!
//! Integers are big-endian. Both ends live on one machine and are one version apart at most.

use ayni::PeerId;
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::api::ErrorDetail;

/// Bytes before the data of a request.
pub(crate) const REQUEST_HEAD: usize = 8 + 32;
/// Bytes before the data of a reply.
pub(crate) const REPLY_HEAD: usize = 8 + 1;
/// Largest request or reply that an offer may allow for: the most that a service's reply may have.
pub(crate) const MAX_SERVICE_BYTES: usize = ayni::limits::MAX_REPLY;
/// Longest error text of a provider: a sentence, not a document.
pub(crate) const MAX_ERROR_TEXT: usize = 1024;

const OUTCOME_REPLY: u8 = 0;
const OUTCOME_ERROR: u8 = 1;

/// What the server says beside the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Notice {
    /// The first frame when all is well; `port` is the local port of a forward.
    Ready {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    },
    /// The first and only frame when it is not.
    Error { error: ErrorDetail },
    /// Nobody waits for the reply with this id any more.
    Cancel { id: u64 },
    /// From a newer version.
    #[serde(other)]
    Unknown,
}

impl Notice {
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a notice is plain data")
    }
}

/// One request to a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) caller: PeerId,
    pub(crate) data: Bytes,
}

impl Request {
    pub(crate) fn encode(&self) -> Bytes {
        let mut frame = BytesMut::with_capacity(REQUEST_HEAD + self.data.len());
        frame.put_u64(self.id);
        frame.put_slice(self.caller.as_bytes());
        frame.put_slice(&self.data);
        frame.freeze()
    }

    /// Returns none for a frame that is too short.
    pub(crate) fn decode(frame: &Bytes) -> Option<Self> {
        let (id, rest) = frame.split_first_chunk::<8>()?;
        let (caller, _) = rest.split_first_chunk::<32>()?;
        let (id, caller) = (u64::from_be_bytes(*id), PeerId(*caller));
        Some(Self { id, caller, data: frame.slice(REQUEST_HEAD..) })
    }
}

/// A provider's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) id: u64,
    pub(crate) outcome: Result<Bytes, String>,
}

impl Reply {
    pub(crate) fn encode(&self) -> Bytes {
        let (outcome, data) = match &self.outcome {
            Ok(data) => (OUTCOME_REPLY, data.as_ref()),
            Err(text) => (OUTCOME_ERROR, start(text, MAX_ERROR_TEXT).as_bytes()),
        };
        let mut frame = BytesMut::with_capacity(REPLY_HEAD + data.len());
        frame.put_u64(self.id);
        frame.put_u8(outcome);
        frame.put_slice(data);
        frame.freeze()
    }

    /// Returns none for a frame that is too short or has another outcome.
    pub(crate) fn decode(frame: &Bytes) -> Option<Self> {
        let (id, rest) = frame.split_first_chunk::<8>()?;
        let (outcome, text) = rest.split_first()?;
        let outcome = match *outcome {
            OUTCOME_REPLY => Ok(frame.slice(REPLY_HEAD..)),
            OUTCOME_ERROR => Err(start(&String::from_utf8_lossy(text), MAX_ERROR_TEXT).to_owned()),
            _ => return None,
        };
        Some(Self { id: u64::from_be_bytes(*id), outcome })
    }
}

/// Returns the start of `text`, at most `max` bytes, whole characters.
fn start(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_round_trip_and_have_a_pinned_form() {
        let request = Request { id: 258, caller: PeerId([7; 32]), data: Bytes::from_static(b"hi") };
        let frame = request.encode();
        let mut golden = vec![0, 0, 0, 0, 0, 0, 1, 2];
        golden.extend([7; 32]);
        golden.extend(b"hi");
        assert_eq!(frame, golden);
        assert_eq!(Request::decode(&frame), Some(request));
        assert_eq!(Request::decode(&frame.slice(..REQUEST_HEAD - 1)), None);
    }

    #[test]
    fn replies_round_trip_and_have_a_pinned_form() {
        let reply = Reply { id: 1, outcome: Ok(Bytes::from_static(b"yes")) };
        assert_eq!(reply.encode(), b"\0\0\0\0\0\0\0\x01\0yes".as_slice());
        assert_eq!(Reply::decode(&reply.encode()), Some(reply));
        let error = Reply { id: 2, outcome: Err("no".into()) };
        assert_eq!(error.encode(), b"\0\0\0\0\0\0\0\x02\x01no".as_slice());
        assert_eq!(Reply::decode(&error.encode()), Some(error));
        assert_eq!(Reply::decode(&Bytes::from_static(b"\0\0\0\0\0\0\0\x02\x05no")), None);
        assert_eq!(Reply::decode(&Bytes::from_static(b"\0\0\0\0\0\0\0\x02")), None);
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let error = Reply { id: 1, outcome: Err("é".repeat(MAX_ERROR_TEXT)) };
        let Some(Reply { outcome: Err(text), .. }) = Reply::decode(&error.encode()) else {
            panic!("an error stays an error");
        };
        assert_eq!(text, "é".repeat(MAX_ERROR_TEXT / 2));
    }

    #[test]
    fn notices_have_a_pinned_form() {
        assert_eq!(Notice::Ready { port: None }.to_text(), r#"{"type":"ready"}"#);
        assert_eq!(Notice::Ready { port: Some(8) }.to_text(), r#"{"type":"ready","port":8}"#);
        assert_eq!(Notice::Cancel { id: 3 }.to_text(), r#"{"type":"cancel","id":3}"#);
        let newer: Notice = serde_json::from_str(r#"{"type":"weather"}"#).expect("unknown is kept");
        assert_eq!(newer, Notice::Unknown);
    }
}
