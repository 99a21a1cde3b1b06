//! The HTTP client of an S3 store: by the guard, without a proxy, and no further than a few redirects that the guard lets
//! through as well.

use std::{error::Error as _, net::SocketAddr, path::Path, time::Duration};

use async_trait::async_trait;
use object_store::{
    ClientOptions,
    client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService},
};
use reqwest::{
    Certificate, Client,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::{Attempt, Policy},
};
use url::{Host, Url};

use super::{Error, Reach, bare};
use crate::egress::{self, Guard};

/// A server that does not take a connection within this is not there.
const CONNECT: Duration = Duration::from_secs(5);
/// One request, a part of a large file among them.
const REQUEST: Duration = Duration::from_secs(30);
/// Redirects of one request.
const REDIRECTS: usize = 3;

/// Makes clients of one store.
#[derive(Debug)]
pub(super) struct Connector(Guarded);

#[derive(Debug, Clone)]
struct Guarded {
    client: Client,
    guard: Guard,
}

impl Connector {
    /// For a server that is spoken to by TLS, or in the clear.
    pub(super) fn new(url: &Url, reach: &Reach, tls: bool) -> Result<Self, Error> {
        let guard = reach.guard.clone();
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(redirects(guard.clone()))
            .dns_resolver(Names(guard.clone()))
            .connect_timeout(CONNECT)
            .timeout(REQUEST)
            .http1_only()
            .user_agent(concat!("croft/", env!("CARGO_PKG_VERSION")));
        let authority = reach.authority.clone().or_else(|| std::env::var_os("AWS_CA_BUNDLE").map(Into::into));
        match authority {
            Some(path) => builder = builder.tls_certs_only(authorities(&path)?),
            // A machine that has none is not asked for them where they are not needed.
            None if !tls => builder = builder.tls_certs_only([]),
            None => {}
        }
        // Its own words are "builder error".
        let why =
            |error: &reqwest::Error| error.source().map_or_else(|| error.to_string(), ToString::to_string);
        let failed = |error: reqwest::Error| Error::Client { url: bare(url), what: why(&error) };
        Ok(Self(Guarded { client: builder.build().map_err(failed)?, guard }))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

#[async_trait]
impl HttpService for Guarded {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let refused = |error: egress::Error| HttpError::new(HttpErrorKind::Unknown, error);
        let host = request.uri().host().unwrap_or_default().to_owned();
        // A resolver is not asked for what is an address already.
        self.guard.addresses(&host).await.map_err(refused)?;
        let error = match self.client.call(request).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if let Some(within) = egress::Error::within(&error) {
            return Err(refused(within.clone()));
        }
        if error.kind() == HttpErrorKind::Connect {
            self.guard.unanswered(&host).await.map_err(refused)?;
        }
        Err(error)
    }
}

/// Names as the guard knows them.
#[derive(Debug)]
struct Names(Guard);

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let found = guard.addresses(name.as_str()).await?;
            let all: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(all)
        })
    }
}

/// A redirect to an address is looked at here; one to a name when it is resolved.
fn redirects(guard: Guard) -> Policy {
    Policy::custom(move |attempt: Attempt<'_>| {
        if attempt.previous().len() > REDIRECTS {
            return attempt.error("too many redirects");
        }
        let address = match attempt.url().host() {
            Some(Host::Ipv4(v4)) => v4.into(),
            Some(Host::Ipv6(v6)) => v6.into(),
            Some(Host::Domain(_)) | None => return attempt.follow(),
        };
        match guard.networks().check(&format!("a redirect to {}", bare(attempt.url())), address) {
            Ok(()) => attempt.follow(),
            Err(error) => attempt.error(error),
        }
    })
}

/// The certificates in a file, which are trusted and no others.
fn authorities(path: &Path) -> Result<Vec<Certificate>, Error> {
    let failed = |what: String| Error::Authority { path: path.to_owned(), what };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let authorities = Certificate::from_pem_bundle(&pem).map_err(|error| failed(error.to_string()))?;
    if authorities.is_empty() { Err(failed("it holds no certificate".to_owned())) } else { Ok(authorities) }
}
