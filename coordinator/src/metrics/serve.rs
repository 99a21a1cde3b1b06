//! `GET /metrics`, on a port of its own that only this machine reaches.

use std::sync::Arc;

use axum::{Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use prometheus_client::encoding::text::encode;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::error::Error;

/// As OpenMetrics has it.
const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Pages written at once; more wait.
const PAGES: usize = 4;

#[derive(Debug, Clone)]
struct Page {
    metrics: Arc<Metrics>,
    turns: Arc<Semaphore>,
}

/// Serves until `end`.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    end: CancellationToken,
) -> Result<(), Error> {
    let page = Page { metrics, turns: Arc::new(Semaphore::new(PAGES)) };
    let router = Router::new().route("/metrics", get(tell)).with_state(page);
    tokio::select! {
        served = axum::serve(listener, router) => served.map_err(Error::Metrics),
        // Nobody's scrape is worth waiting for.
        () = end.cancelled() => Ok(()),
    }
}

async fn tell(State(page): State<Page>) -> impl IntoResponse {
    let _turn = page.turns.acquire().await;
    let mut text = String::new();
    encode(&mut text, &page.metrics.registry).expect("a String takes everything");
    ([(CONTENT_TYPE, TYPE)], text)
}
