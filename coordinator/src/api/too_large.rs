//! Words for a message that is larger than the server reads: tonic says OUT_OF_RANGE and a number of bytes, which
//! tells nobody what to do.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use croft_core::spec::SPEC_BYTES_MAX;
use croft_proto::MESSAGE_BYTES_MAX;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
};

const MIB: usize = 1 << 20;

/// A service whose refusals of large messages are worded.
#[derive(Debug, Clone)]
pub(crate) struct TooLarge<S>(pub(crate) S);

impl<S> Service<http::Request<Body>> for TooLarge<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            // A refusal before any message is in the headers; the services themselves never say OUT_OF_RANGE.
            let refused =
                Status::from_header_map(answer.headers()).is_some_and(|s| s.code() == Code::OutOfRange);
            Ok(if refused { refusal().into_http() } else { answer })
        })
    }
}

impl<S: NamedService> NamedService for TooLarge<S> {
    const NAME: &'static str = S::NAME;
}

fn refusal() -> Status {
    super::status::exhausted(
        "request",
        format!(
            "the request is too large: a spec may have {} MiB, and with the files that it names {} MiB; put long lists \
             into fewer axes or several jobs",
            SPEC_BYTES_MAX / MIB,
            MESSAGE_BYTES_MAX / MIB
        ),
    )
}
