//! The gate in front of all services: nobody is heard whom the table does not let in.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use croft_core::access::Denied;
use croft_proto::channel::Peer;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
};
use tonic_types::StatusExt;
use tower::Layer;

use super::{
    super::status::denied,
    Book, Call,
    table::{self, Row},
};

/// Puts a gate before all services of a server.
#[derive(Debug, Clone)]
pub(crate) struct GateLayer(pub(crate) Book);

#[derive(Debug, Clone)]
pub(crate) struct Gate<S> {
    book: Book,
    inside: S,
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inside: S) -> Gate<S> {
        Gate { book: self.0.clone(), inside }
    }
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inside.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let row = table::row(&path);
        let peer = request.extensions().get::<Peer>();
        let call = Call::new(path.trim_start_matches('/'), request.headers(), peer);
        let book = self.book.clone();
        if let Err(status) = admit(&call, row, &path) {
            return Box::pin(async move {
                note(&book, &call, &status).await;
                Ok(status.into_http())
            });
        }
        request.extensions_mut().insert(call.clone());
        let answer = self.inside.call(request);
        let changes = row.is_some_and(|row| row.changes);
        Box::pin(async move {
            let answer = answer.await?;
            // A refusal before any message is in the headers; what went well the services enter themselves.
            if let Some(status) = Status::from_header_map(answer.headers()) {
                let is_refusal = matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated);
                // Whoever must go to another coordinator or come again is refused nothing.
                let is_failure = changes && !matches!(status.code(), Code::Ok | Code::Unavailable);
                if is_refusal || is_failure {
                    note(&book, &call, &status).await;
                }
            }
            Ok(answer)
        })
    }
}

fn admit(call: &Call, row: Option<&Row>, path: &str) -> Result<(), Status> {
    let Some(row) = row else {
        let known = call.caller().sees_all();
        let unknown = || Status::unimplemented(format!("{path} is no method of this coordinator"));
        return Err(if known { unknown() } else { denied(&Denied::NoCertificate) });
    };
    call.caller().may(row.need).map_err(|why| denied(&why))
}

async fn note(book: &Book, call: &Call, status: &Status) {
    let info = status.get_details_error_info();
    let reason = info.map_or_else(|| status.message().to_owned(), |info| info.reason);
    book.refused(call.entry(status.code(), &reason)).await;
}
