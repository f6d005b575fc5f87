//! Bodies on their way through: counted, streamed, never collected. The answer's body carries the
//! request's record and the lease of the upstream connection, and lets go of both at its end.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::client::Lease;
use super::client_headers;
use crate::record::RequestRecord;

/// How far a request's body has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    bytes: AtomicU64,
    ended: OnceLock<Instant>,
}

impl Progress {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns when the last byte had been read, if it has been.
    pub(crate) fn ended(&self) -> Option<Instant> {
        self.ended.get().copied()
    }
}

/// What becomes of the trailers of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trailers {
    AsSent,
    /// Without those that would say who the client is: some servers add trailers to the fields.
    WithoutIdentity,
}

/// A request's body, from the client to the upstream.
#[derive(Debug)]
pub(crate) struct RequestBody {
    incoming: Incoming,
    trailers: Trailers,
    /// None when there is no body, which is most often so.
    progress: Option<Arc<Progress>>,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, trailers: Trailers) -> Self {
        let progress = (!incoming.is_end_stream()).then(Arc::default);
        Self {
            incoming,
            trailers,
            progress,
        }
    }

    pub(crate) fn progress(&self) -> Option<Arc<Progress>> {
        self.progress.clone()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame
            && self.trailers == Trailers::WithoutIdentity
            && let Some(trailers) = frame.trailers_mut()
        {
            client_headers::strip(trailers);
        }
        if let Some(progress) = &self.progress {
            if let Some(Ok(frame)) = &frame {
                let bytes = length(frame);
                progress.bytes.fetch_add(bytes, Ordering::Relaxed);
            }
            if frame.is_none() || self.incoming.is_end_stream() {
                progress.ended.get_or_init(Instant::now);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// An answer's body, to the client.
#[derive(Debug)]
pub(crate) struct ReplyBody {
    source: Source,
    /// None when the record outlives the answer, as after a switch of protocols.
    record: Option<Box<RequestRecord>>,
    progress: Option<Arc<Progress>>,
}

#[derive(Debug)]
enum Source {
    /// Of the proxy's own.
    Text(Option<Bytes>),
    /// Of the upstream, with the connection that it comes on until it has come.
    Upstream(Incoming, Option<Lease>),
}

impl ReplyBody {
    /// Makes a body of text.
    pub(crate) fn text(text: String, record: Box<RequestRecord>) -> Self {
        Self {
            source: Source::Text(Some(Bytes::from(text))),
            record: Some(record),
            progress: None,
        }
    }

    /// Makes the body of an answer that has none and leaves no record.
    pub(crate) fn empty() -> Self {
        Self {
            source: Source::Text(None),
            record: None,
            progress: None,
        }
    }

    /// Makes a body of what the upstream sends.
    pub(crate) fn upstream(
        incoming: Incoming,
        lease: Lease,
        record: Box<RequestRecord>,
        progress: Option<Arc<Progress>>,
    ) -> Self {
        let mut body = Self {
            source: Source::Upstream(incoming, Some(lease)),
            record: Some(record),
            progress,
        };
        body.release_at_end();
        body
    }

    fn release_at_end(&mut self) {
        if let Source::Upstream(incoming, lease) = &mut self.source
            && incoming.is_end_stream()
            && let Some(lease) = lease.take()
        {
            lease.release();
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = match &mut self.source {
            Source::Text(text) => text.take().map(|text| Ok(Frame::data(text))),
            Source::Upstream(incoming, lease) => {
                let frame = ready!(Pin::new(incoming).poll_frame(cx));
                if frame.is_none()
                    && let Some(lease) = lease.take()
                {
                    lease.release();
                }
                frame
            }
        };
        self.release_at_end();
        if let Some(record) = &mut self.record {
            match &frame {
                Some(Ok(frame)) => record.sent += length(frame),
                Some(Err(error)) => record.error = Some(format!("upstream_broken: {error}")),
                None => record.complete = true,
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Text(text) => text.is_none(),
            Source::Upstream(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Text(text) => {
                let length = text.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Source::Upstream(incoming, _) => incoming.size_hint(),
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        // A body without a byte left is not polled again.
        let complete = self.is_end_stream();
        let Some(record) = &mut self.record else {
            return;
        };
        record.complete |= complete;
        if let Some(progress) = &self.progress {
            record.received = progress.bytes();
        }
    }
}

fn length(frame: &Frame<Bytes>) -> u64 {
    let length = frame.data_ref().map_or(0, Bytes::len);
    u64::try_from(length).unwrap_or(u64::MAX)
}
