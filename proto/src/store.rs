//! From the address of an artifact store to the store: a folder, or a bucket of any S3-compatible server.
//!
//! Coordinator and workers read the same address, so they must make the same of it. Secrets never stand in an address:
//! they come from the environment that S3 clients share (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
//! `AWS_ENDPOINT_URL`, `AWS_REGION`; `AWS_CA_BUNDLE` for a server whose certificate is of the studio's own authority, which
//! is then the only one that is trusted).

use std::{path::PathBuf, sync::Arc};

use object_store::{
    Certificate, ClientOptions, ObjectStore, aws::AmazonS3Builder, aws::S3ConditionalPut,
    local::LocalFileSystem, path::Path, prefix::PrefixStore,
};
use url::Url;

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
    #[error("AWS_CA_BUNDLE '{path}' cannot be used: {what}")]
    Authority { path: String, what: String },
}

/// Opens the store at `url`. Nothing is written or asked for yet: a bucket that does not exist shows at its first use.
pub fn open(url: &Url) -> Result<Arc<dyn ObjectStore>, Error> {
    match url.scheme() {
        "file" => folder(url),
        "s3" => bucket(url),
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

fn bucket(url: &Url) -> Result<Arc<dyn ObjectStore>, Error> {
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
    if let Ok(path) = std::env::var("AWS_CA_BUNDLE") {
        builder = builder.with_client_options(trusting(&path)?);
    }
    let endpoint = std::env::var("AWS_ENDPOINT_URL").or_else(|_| std::env::var("AWS_ENDPOINT"));
    if let Ok(endpoint) = endpoint {
        // A farm's store is a machine of its own network, and few studios give that a certificate.
        builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
    }
    let failed = |source| Error::Store { url: bare(url), source };
    let store = builder.build().map_err(failed)?;
    let prefix = Path::from_url_path(url.path().trim_matches('/')).map_err(|e| failed(e.into()))?;
    if prefix.as_ref().is_empty() {
        Ok(Arc::new(store))
    } else {
        Ok(Arc::new(PrefixStore::new(store, prefix)))
    }
}

/// Trusts the authorities in a file, and no others.
fn trusting(path: &str) -> Result<ClientOptions, Error> {
    let failed = |what: String| Error::Authority { path: path.to_owned(), what };
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let authorities = Certificate::from_pem_bundle(&pem).map_err(|error| failed(error.to_string()))?;
    if authorities.is_empty() {
        return Err(failed("it holds no certificate".to_owned()));
    }
    let options = ClientOptions::new().with_no_system_certificates(true);
    Ok(authorities.into_iter().fold(options, ClientOptions::with_root_certificate))
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

    fn refused(url: &str) -> String {
        open(&url.parse().expect("a url")).expect_err(url).to_string()
    }

    #[test]
    fn an_address_that_is_no_store_says_what_is_one() {
        assert!(refused("http://store/bucket").contains("give file:///DIR or s3://BUCKET[/PREFIX]"));
        assert!(refused("file:///no/such/folder").contains("make it first"));
    }

    #[test]
    fn secrets_in_an_address_are_refused_and_not_repeated() {
        let told = refused("s3://key:secret@bucket/x");
        assert!(told.contains("a user") && !told.contains("secret@"), "{told}");
    }
}
