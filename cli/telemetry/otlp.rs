//! Spans on their way to a collector, by OTLP over gRPC. A collector that is down or hangs costs nothing but the spans:
//! the queue has a bound, what does not fit is dropped and counted, a batch is sent once, and the log says when that
//! begins and when it is over.
//!
//! Only our own spans go out: nothing listens to the libraries below, whose talk of this very connection would be
//! exported in turn.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use croft_coordinator::SpanCounts;
use croft_proto::trace::{Field, Kind, Place, Sink, Span, Traces};
use croft_proto::{channel::Address, egress::Guard};
use opentelemetry::{
    InstrumentationScope, KeyValue, Value,
    trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_otlp::{WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks, SpanProcessor,
    },
};
use tonic::transport::Endpoint;

use crate::{
    config,
    exit::{Exit, Failed},
};

/// Spans that wait; more are dropped.
const QUEUE: usize = 8_192;
const BATCH: usize = 512;
/// A span waits no longer for others to go with.
const DELAY: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(1);
/// A collector that has not taken a batch by then will not.
const EXPORT: Duration = Duration::from_secs(3);
/// What the last spans get at the end.
const LAST: Duration = Duration::from_millis(500);

/// Who takes this process's spans.
#[derive(Debug, Clone, Default)]
pub(crate) struct Otlp {
    exported: Option<Arc<Exported>>,
    kept: f64,
}

#[derive(Debug)]
struct Exported {
    batches: BatchSpanProcessor,
    scope: InstrumentationScope,
    counts: Arc<Counts>,
}

/// What became of spans.
#[derive(Debug, Default)]
struct Counts {
    made: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
    is_down: AtomicBool,
}

impl Otlp {
    /// Sends spans of `service` where the settings say; nothing is sent without an endpoint. Within a runtime.
    pub(crate) fn start(
        service: &'static str,
        settings: &config::Telemetry,
        guard: &Guard,
    ) -> Result<Self, Failed> {
        let Some(address) = &settings.otlp_endpoint else { return Ok(Self::default()) };
        let wrong = |why: &dyn std::fmt::Display| {
            Failed::with(Exit::Usage, format!("otlp_endpoint '{address}': {why}"))
                .help("give http://127.0.0.1:4317, where a collector of this machine listens")
        };
        let at: Address = address.parse().map_err(|error| wrong(&error))?;
        if at.tls == Some(true) || !at.is_loopback() {
            return Err(wrong(&"spans go in the clear, which is for a collector of this machine"));
        }
        let channel = Endpoint::from_shared(format!("http://{at}"))
            .map_err(|error| wrong(&error))?
            .connect_timeout(CONNECT)
            .timeout(EXPORT)
            .connect_with_connector_lazy(guard.connector());
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_channel(channel)
            .with_timeout(EXPORT)
            .build()
            .map_err(|error| wrong(&error))?;
        let counts = Arc::<Counts>::default();
        let counted = Counted { exporter, counts: Arc::clone(&counts) };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(DELAY);
        let mut batches = BatchSpanProcessor::new(counted, batches.build());
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        batches.set_resource(
            &Resource::builder_empty().with_service_name(service).with_attributes([version]).build(),
        );
        let scope = InstrumentationScope::builder("croft").with_version(env!("CARGO_PKG_VERSION")).build();
        let exported = Exported { batches, scope, counts };
        Ok(Self { exported: Some(Arc::new(exported)), kept: settings.trace_ratio })
    }

    pub(crate) fn traces(&self) -> Traces {
        match &self.exported {
            Some(exported) => Traces::new(Arc::clone(exported) as Arc<dyn Sink>, self.kept),
            None => Traces::default(),
        }
    }

    pub(crate) fn counts(&self) -> Option<Arc<dyn SpanCounts>> {
        self.exported.as_ref().map(|exported| Arc::clone(&exported.counts) as Arc<dyn SpanCounts>)
    }

    /// Sends what is left, and does not wait long for it.
    pub(crate) async fn finish(self) {
        let Some(exported) = self.exported else { return };
        // The last to leave does not mind whether it went well: it was counted and told.
        let last = tokio::task::spawn_blocking(move || drop(exported.batches.shutdown_with_timeout(LAST)));
        let _ = tokio::time::timeout(LAST, last).await;
    }
}

impl Sink for Exported {
    fn take(&self, span: Span) {
        self.counts.made.fetch_add(1, Ordering::Relaxed);
        self.batches.on_end(data(span, &self.scope));
    }
}

impl SpanCounts for Counts {
    fn counts(&self) -> Vec<(&'static str, u64)> {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        vec![("made", of(&self.made)), ("exported", of(&self.exported)), ("failed", of(&self.failed))]
    }
}

/// Counts what the collector took, and says once when it does not.
#[derive(Debug)]
struct Counted {
    exporter: opentelemetry_otlp::SpanExporter,
    counts: Arc<Counts>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let sent = self.exporter.export(batch).await;
        let was_down = self.counts.is_down.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            Ok(()) => {
                self.counts.exported.fetch_add(spans, Ordering::Relaxed);
                if was_down {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err(error) => {
                self.counts.failed.fetch_add(spans, Ordering::Relaxed);
                if !was_down {
                    tracing::warn!(%error, "the collector takes no spans; they are dropped until it does");
                }
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

fn data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let mut events = SpanEvents::default();
    events.events = span.events.into_iter().map(|(at, words)| Event::new(words, at, Vec::new(), 0)).collect();
    let mut links = SpanLinks::default();
    links.links = span.link.iter().map(|place| Link::with_context(context(place))).collect();
    SpanData {
        span_context: context(&span.place),
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: false,
        span_kind: match span.kind {
            Kind::Internal => SpanKind::Internal,
            Kind::Client => SpanKind::Client,
            Kind::Server => SpanKind::Server,
        },
        name: span.name.into(),
        start_time: span.start,
        end_time: span.end,
        attributes: span.fields.into_iter().map(|(key, field)| KeyValue::new(key, value(field))).collect(),
        dropped_attributes_count: 0,
        events,
        links,
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope.clone(),
    }
}

fn context(place: &Place) -> SpanContext {
    let flags = if place.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace, span) = (TraceId::from_bytes(place.trace), SpanId::from_bytes(place.span));
    SpanContext::new(trace, span, flags, true, TraceState::default())
}

fn value(field: Field) -> Value {
    match field {
        Field::Text(text) => text.into(),
        Field::Count(count) => i64::try_from(count).unwrap_or(i64::MAX).into(),
    }
}
