//! From the address of an artifact store to the store: a folder, or a bucket of any S3-compatible server.
//!
//! Coordinator and workers read the same address, so they must make the same of it. Secrets never stand in an address:
//! they come from the environment that S3 clients share (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
//! `AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_CA_BUNDLE`). Whatever else that environment names, a proxy or a service that
//! hands out keys, is reached by the same guard or not at all.

mod http;

use std::{path::PathBuf, sync::Arc};

use object_store::{
    ObjectStore, aws::AmazonS3Builder, aws::AmazonS3ConfigKey, aws::S3ConditionalPut, local::LocalFileSystem,
    path::Path, prefix::PrefixStore,
};
use url::Url;

use crate::egress::{self, Guard};

/// How stores over a network are reached.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    pub guard: Guard,
    /// The authorities that a server's certificate may be of (PEM), and then no others; `AWS_CA_BUNDLE` where it is left
    /// out, and without either those that the system trusts.
    pub authority: Option<PathBuf>,
}

/// Why an address gives no store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("artifact store '{url}': give file:///DIR or s3://BUCKET[/PREFIX]")]
    Scheme { url: String },
    #[error(
        "artifact store '{url}' has {part} in it; secrets belong into the environment (AWS_SECRET_ACCESS_KEY)"
    )]
    Secret { url: String, part: &'static str },
    #[error("artifact store '{}' is no folder that exists; make it first", path.display())]
    Folder { path: PathBuf },
    #[error("artifact store '{url}' cannot be used: {source}")]
    Store { url: String, source: object_store::Error },
    #[error("the store's authority '{}' cannot be used: {what}", path.display())]
    Authority { path: PathBuf, what: String },
    #[error(
        "artifact store '{url}': AWS_ENDPOINT_URL '{endpoint}' is no address; give http://HOST:PORT or https://HOST:PORT"
    )]
    Endpoint { url: String, endpoint: String },
    #[error("artifact store '{url}': {source}")]
    Refused { url: String, source: egress::Error },
    #[error("artifact store '{url}' needs {key} in the environment")]
    Key { url: String, key: &'static str },
    #[error("no client for artifact store '{url}': {what}")]
    Client { url: String, what: String },
}

/// Opens the store at `url`. Nothing is written yet, and nobody but the resolver is asked: a bucket that does not exist
/// shows at its first use, a server that must not be reached here.
///
/// # Errors
/// Says what is wrong with the address, or with what the environment says of it.
pub async fn open(url: &Url, reach: &Reach) -> Result<Arc<dyn ObjectStore>, Error> {
    match url.scheme() {
        "file" => folder(url),
        "s3" => bucket(url, reach).await,
        _ => Err(Error::Scheme { url: bare(url) }),
    }
}

fn folder(url: &Url) -> Result<Arc<dyn ObjectStore>, Error> {
    let path = url.to_file_path().map_err(|()| Error::Scheme { url: bare(url) })?;
    if !path.is_dir() {
        return Err(Error::Folder { path });
    }
    let store = LocalFileSystem::new_with_prefix(&path)
        .map_err(|source| Error::Store { url: bare(url), source })?
        // An attempt's folder goes with its last file.
        .with_automatic_cleanup(true);
    Ok(Arc::new(store))
}

async fn bucket(url: &Url, reach: &Reach) -> Result<Arc<dyn ObjectStore>, Error> {
    for (part, there) in [
        ("a user", !url.username().is_empty()),
        ("a password", url.password().is_some()),
        ("a query", url.query().is_some()),
    ] {
        if there {
            return Err(Error::Secret { url: bare(url), part });
        }
    }
    let Some(name) = url.host_str() else { return Err(Error::Scheme { url: bare(url) }) };
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(name)
        // Publication rests on it.
        .with_conditional_put(S3ConditionalPut::ETagMatch);
    // Without a key the client would look for one in the services of a cloud.
    let is_signed =
        builder.get_config_value(&AmazonS3ConfigKey::SkipSignature).is_none_or(|skip| skip != "true");
    for (key, config) in [
        ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
        ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ] {
        if is_signed && builder.get_config_value(&config).is_none() {
            return Err(Error::Key { url: bare(url), key });
        }
    }
    let Some(endpoint) = builder.get_config_value(&AmazonS3ConfigKey::Endpoint) else {
        return Err(Error::Key { url: bare(url), key: "AWS_ENDPOINT_URL" });
    };
    // A farm's store is a machine of its own network, and few studios give that a certificate.
    let is_plain = endpoint.starts_with("http://");
    builder = builder.with_allow_http(is_plain).with_endpoint(&endpoint);
    let odd = || Error::Endpoint { url: bare(url), endpoint: endpoint.clone() };
    let host = Url::parse(&endpoint).ok().and_then(|at| Some(at.host_str()?.to_owned())).ok_or_else(odd)?;
    let refused = |source| Error::Refused { url: bare(url), source };
    reach.guard.addresses(&host).await.map_err(refused)?;
    let store = builder.with_http_connector(http::Connector::new(url, reach, !is_plain)?);
    let failed = |source| Error::Store { url: bare(url), source };
    let store = store.build().map_err(failed)?;
    let prefix = Path::from_url_path(url.path().trim_matches('/')).map_err(|e| failed(e.into()))?;
    if prefix.as_ref().is_empty() {
        Ok(Arc::new(store))
    } else {
        Ok(Arc::new(PrefixStore::new(store, prefix)))
    }
}

/// The address without what may be secret in it.
fn bare(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for addresses that cannot have either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(url: &str) -> String {
        open(&url.parse().expect("a url"), &Reach::default()).await.expect_err(url).to_string()
    }

    #[tokio::test]
    async fn an_address_that_is_no_store_says_what_is_one() {
        assert!(refused("http://store/bucket").await.contains("give file:///DIR or s3://BUCKET[/PREFIX]"));
        assert!(refused("file:///no/such/folder").await.contains("make it first"));
    }

    #[tokio::test]
    async fn secrets_in_an_address_are_refused_and_not_repeated() {
        let told = refused("s3://key:secret@bucket/x").await;
        assert!(told.contains("a user") && !told.contains("secret@"), "{told}");
    }
}
