//! The words of identity: certificates, tokens, and the book of who did what.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::{Client, Egress, Output};

/// By what this process proves who it is.
#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Identity")]
pub(crate) struct Tls {
    /// A folder with ca.pem, cert.pem and key.pem
    #[arg(long, env = "CROFT_IDENTITY", value_name = "DIR")]
    pub(crate) identity: Option<PathBuf>,
    /// The farm's authority (PEM) [default: ca.pem of the identity]
    #[arg(long, env = "CROFT_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The certificate to show (PEM) [default: cert.pem of the identity]
    #[arg(long, env = "CROFT_CERT", value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// Its key (PEM) [default: key.pem of the identity]
    #[arg(long, env = "CROFT_KEY", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkerWish {
    /// Get this machine a certificate by a one-time token, as `croft certs token` prints it
    Join(Join),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Join {
    /// The token and where the coordinator is
    #[arg(value_name = "TOKEN@HOST:PORT[,…]")]
    pub(crate) token: String,
    /// Where the worker keeps what is its own [default: ~/.local/share/croft/worker]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) egress: Egress,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Certs {
    #[command(subcommand)]
    pub(crate) wish: CertsWish,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertsWish {
    /// Make the farm's authority
    Init(Init),
    /// Sign a certificate for a user or a machine
    Issue(Issue),
    /// Take certificates back, now and for ever
    Revoke(Revoke),
    /// List the certificates that were signed
    List(List),
    /// Make a one-time token by which a machine or a user gets a certificate
    Token(Token),
    /// Get yourself a certificate by a one-time token
    Join(Join),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Init {
    /// The folder of the authority [default: ~/.local/share/croft/certs]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// The farm's name: it stands in every certificate
    #[arg(long, default_value = "croft", value_name = "NAME")]
    pub(crate) farm: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IssuedRole {
    /// Looks
    Viewer,
    /// Submits and changes jobs of own shows
    Artist,
    /// Looks after workers, shares and limits
    Wrangler,
    /// All of it
    Admin,
    Worker,
    Coordinator,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Issue {
    /// Who it is for
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[arg(long, value_enum)]
    pub(crate) role: IssuedRole,
    /// A name or address by which a coordinator is reached; this machine's own are added
    #[arg(long, value_name = "DNS|IP")]
    pub(crate) host: Vec<String>,
    /// A show that an artist or viewer works on; `*` for all
    #[arg(long, value_name = "SHOW")]
    pub(crate) show: Vec<String>,
    /// Days that it is valid [default: 365, a worker 90]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3650))]
    pub(crate) days: Option<u64>,
    /// The same in seconds, for tests of what happens then
    #[arg(long, hide = true, conflicts_with = "days")]
    pub(crate) seconds: Option<u64>,
    /// Where it goes: a folder to carry to where it is used [default: ./NAME]
    #[arg(long, value_name = "DIR", conflicts_with = "install")]
    pub(crate) out: Option<PathBuf>,
    /// Put it where this machine's own coordinator, worker or client looks
    #[arg(long)]
    pub(crate) install: bool,
    /// The folder of the authority [default: ~/.local/share/croft/certs]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Revoke {
    /// Names (all certificates of each) or serials
    #[arg(value_name = "NAME|SERIAL", required = true)]
    pub(crate) which: Vec<String>,
    /// The folder of the authority [default: ~/.local/share/croft/certs]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct List {
    /// The folder of the authority [default: ~/.local/share/croft/certs]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Token {
    /// The worker that it is for
    #[arg(long, value_name = "NAME", required_unless_present = "user")]
    pub(crate) worker: Option<String>,
    /// The user that it is for
    #[arg(long, value_name = "NAME", requires = "role", conflicts_with = "worker")]
    pub(crate) user: Option<String>,
    /// What the user is
    #[arg(long, value_enum, requires = "user")]
    pub(crate) role: Option<IssuedRole>,
    /// A show that an artist or viewer works on; `*` for all
    #[arg(long, value_name = "SHOW", requires = "user")]
    pub(crate) show: Vec<String>,
    /// How long it can be used: 30m, 1h, 2d
    #[arg(long, default_value = "1h", value_parser = ttl, value_name = "TIME")]
    pub(crate) ttl: std::time::Duration,
    #[command(flatten)]
    pub(crate) client: Client,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Audit {
    /// Nothing older: 30m, 12h, 7d
    #[arg(long, value_parser = ttl, value_name = "TIME")]
    pub(crate) since: Option<std::time::Duration>,
    /// A part of a name, such as user/kim
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    pub(crate) who: String,
    /// A method, such as CancelJob
    #[arg(long, default_value = "", hide_default_value = true, value_name = "METHOD")]
    pub(crate) method: String,
    /// Only what was refused or did not go through
    #[arg(long)]
    pub(crate) denied: bool,
    /// Lines, at most
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) client: Client,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Reads `90s`, `30m`, `12h`, `7d`.
fn ttl(text: &str) -> Result<std::time::Duration, String> {
    let unit = text.chars().next_back().unwrap_or_default();
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => 0,
    };
    let number: Option<u64> = text.strip_suffix(unit).and_then(|number| number.parse().ok());
    match number.and_then(|number| number.checked_mul(seconds)) {
        Some(seconds) if seconds > 0 => Ok(std::time::Duration::from_secs(seconds)),
        _ => Err("give a time such as 30m, 1h or 2d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(ttl("90s").map(|ttl| ttl.as_secs()), Ok(90));
        assert_eq!(ttl("2d").map(|ttl| ttl.as_secs()), Ok(172_800));
        for bad in ["", "1", "h", "0h", "-1h", "1w", "99999999999999999999d"] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }
}
