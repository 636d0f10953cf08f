//! Values as lines of JSON, read as they arrive.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::{self, StreamExt};
use serde::de::DeserializeOwned;

use super::{ClientError, Result, Streaming};
use crate::api;

/// Longest line: the largest text with every byte escaped (6 for 1), and the other keys.
const MAX_LINE: usize = 6 * ayni::limits::MAX_TEXT + 16 * 1024;

/// Lines of a reply, as they arrive.
pub(super) type Lines = Streaming<BytesMut>;

/// Returns the lines of a reply.
pub(super) fn lines_of(body: Body) -> Lines {
    let chunks = body.into_data_stream().map(|chunk| chunk.map_err(|_| ClientError::gone()));
    Box::pin(lines(chunks))
}

/// Takes the first line of a reply, which has to be there.
pub(super) async fn first<T: DeserializeOwned>(lines: &mut Lines) -> Result<T> {
    let line = lines.next().await.ok_or_else(ClientError::gone)?;
    parse(&line?)
}

/// Returns the values of lines; one that tells a failure becomes the stream's error.
pub(super) fn values<T: DeserializeOwned + Send + 'static>(lines: Lines) -> Streaming<T> {
    Box::pin(lines.map(|line| line.and_then(|line| parse(&line))))
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T> {
    serde_json::from_slice(line).map_err(|_| match serde_json::from_slice::<api::Failure>(line) {
        Ok(failure) => failure.error.into(),
        Err(_) => ClientError::internal(
            "the node told something in a form that this version does not know",
        ),
    })
}

/// Splits chunks at line ends. A last line without an end is a reply that was cut off.
fn lines<C>(chunks: C) -> impl Stream<Item = Result<BytesMut>> + Send
where
    C: Stream<Item = Result<Bytes>> + Send + Unpin,
{
    stream::try_unfold((chunks, BytesMut::new()), |(mut chunks, mut buffer)| async move {
        let mut searched = 0;
        loop {
            if let Some(end) = buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let mut line = buffer.split_to(searched + end + 1);
                line.truncate(line.len() - 1);
                return Ok(Some((line, (chunks, buffer))));
            }
            searched = buffer.len();
            if searched > MAX_LINE {
                return Err(ClientError::internal("the node sent a line that is too long"));
            }
            match chunks.next().await {
                Some(chunk) => buffer.extend_from_slice(&chunk?),
                None if buffer.is_empty() => return Ok(None),
                None => return Err(ClientError::gone()),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn split(chunks: &[&'static str]) -> Vec<Result<String>> {
        let chunks: Vec<_> =
            chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        lines(stream::iter(chunks))
            .map(|line| line.map(|line| String::from_utf8_lossy(&line).into_owned()))
            .collect()
            .await
    }

    #[tokio::test]
    async fn lines_are_split_wherever_the_chunks_end() {
        let lines = split(&["on", "e\ntwo\nth", "", "ree", "\n"]).await;
        assert_eq!(lines, ["one", "two", "three"].map(|line| Ok(line.to_owned())));
    }

    #[tokio::test]
    async fn a_reply_that_was_cut_off_is_an_error() {
        let lines = split(&["one\ntw"]).await;
        assert_eq!(lines, [Ok("one".to_owned()), Err(ClientError::gone())]);
    }

    #[tokio::test]
    async fn a_line_without_end_does_not_fill_the_memory() {
        let chunk: &'static str = "x".repeat(MAX_LINE / 2 + 1).leak();
        let lines = split(&[chunk, chunk, chunk]).await;
        assert_eq!(lines.len(), 1);
        assert!(lines.iter().all(Result::is_err));
    }

    #[test]
    fn a_failure_in_the_middle_keeps_its_code() {
        let line = br#"{"error":{"code":"denied","message":"no"}}"#;
        let denied = ClientError::new(api::ErrorCode::Denied, "no");
        assert_eq!(parse::<api::Message>(line), Err(denied.clone()));
        assert_eq!(parse::<api::Searched>(line), Err(denied));
    }
}
