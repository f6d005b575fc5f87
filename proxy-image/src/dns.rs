//! Names to addresses, through the name servers of `/etc/resolv.conf` and never `/etc/hosts`, where
//! the pod's own alias would lead the proxy back to itself.
//!
//! In: a host name. Out: all its addresses, IPv6 and IPv4 in turn as RFC 8305 section 4 wants them, or
//! an error that tells a name that does not exist from a server that does not answer. Answers are kept
//! for their TTL. Does not dial.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Resolver as Hickory, TokioResolver};
use tokio::sync::{OnceCell, Semaphore};

/// The most answers that are kept; a proxy has few upstreams.
const CACHED_ANSWERS: u64 = 256;
/// The longest that any answer is kept, whatever its TTL.
const LONGEST_TTL: Duration = Duration::from_secs(3600);
/// The longest that a name is taken to be missing.
const LONGEST_NEGATIVE_TTL: Duration = Duration::from_secs(5);
/// The most look-ups under way at once.
const LOOKUPS: usize = 64;

/// Resolves names. Cheap to make: the file is read with the first name.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    file: PathBuf,
    port: Option<u16>,
    searcher: OnceCell<Searcher>,
    permits: Semaphore,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsFailure {
    /// The name does not exist.
    #[error("the name {0} does not exist (NXDOMAIN)")]
    NoSuchName(String),
    /// The name exists, and has neither an A nor an AAAA record.
    #[error("the name {0} exists but has no address (neither A nor AAAA)")]
    NoAddress(String),
    /// A server answered that it cannot tell.
    #[error("the DNS server could not resolve {name} ({code})")]
    ServerFailure {
        /// The name.
        name: String,
        /// `SERVFAIL`, `REFUSED`, ...
        code: String,
    },
    /// No server answered in time.
    #[error("no DNS server answered for {0} in time")]
    Timeout(String),
    /// The resolver cannot be set up, or reach any server.
    #[error("{name} cannot be resolved: {reason}")]
    Unreachable {
        /// The name.
        name: String,
        /// Why.
        reason: String,
    },
}

impl DnsFailure {
    /// Returns the reason's name in metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NoSuchName(_) => "dns_nxdomain",
            Self::NoAddress(_) => "dns_no_address",
            Self::ServerFailure { .. } => "dns_server_failure",
            Self::Timeout(_) => "dns_timeout",
            Self::Unreachable { .. } => "dns_unreachable",
        }
    }
}

impl Resolver {
    /// Makes a resolver that follows a file such as `/etc/resolv.conf`.
    #[must_use]
    pub fn new(file: &Path) -> Self {
        Self::with_port(file, None)
    }

    /// Makes a resolver whose servers listen on another port than 53.
    #[must_use]
    pub fn with_port(file: &Path, port: Option<u16>) -> Self {
        Self {
            shared: Arc::new(Shared {
                file: file.to_owned(),
                port,
                searcher: OnceCell::new(),
                permits: Semaphore::new(LOOKUPS),
            }),
        }
    }

    /// Returns all addresses of a name, at least one. A name without a final dot is also looked for
    /// in the search domains.
    ///
    /// # Errors
    /// Why there is none within `limit`.
    pub async fn lookup(&self, name: &str, limit: Duration) -> Result<Vec<IpAddr>, DnsFailure> {
        if let Ok(ip) = name.parse() {
            return Ok(vec![ip]);
        }
        tokio::time::timeout(limit, self.shared.lookup(name))
            .await
            .unwrap_or_else(|_| Err(DnsFailure::Timeout(name.to_owned())))
    }
}

impl Shared {
    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, DnsFailure> {
        let permit = self.permits.acquire().await;
        let _permit = permit.expect("the semaphore is never closed");
        let searcher = self
            .searcher
            .get_or_try_init(|| self.read_file(name))
            .await?;
        searcher.lookup(name).await
    }

    async fn read_file(&self, name: &str) -> Result<Searcher, DnsFailure> {
        let unreachable = |reason: String| DnsFailure::Unreachable {
            name: name.to_owned(),
            reason: format!("{}: {reason}", self.file.display()),
        };
        let text = tokio::fs::read(&self.file).await;
        let text = text.map_err(|error| unreachable(error.to_string()))?;
        let (config, options) =
            parse_resolv_conf(text).map_err(|error| unreachable(error.to_string()))?;
        // The domain is the file's last `search` or `domain` already, or else guessed from the host
        // name, which the C library does not look in.
        let (_, search, mut servers) = config.into_parts();
        for connection in servers
            .iter_mut()
            .flat_map(|server| &mut server.connections)
        {
            connection.port = self.port.unwrap_or(connection.port);
        }
        let ndots = options.ndots;
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut builder = Hickory::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = tuned(options);
        let resolver = builder
            .build()
            .map_err(|error| unreachable(error.to_string()))?;
        Ok(Searcher {
            resolver,
            search: search.iter().map(ToString::to_string).collect(),
            ndots,
        })
    }
}

/// Looks for names in the search domains.
///
/// The library could, but tells only how the last domain failed, so that a server that is down reads
/// as a name that does not exist.
struct Searcher {
    resolver: TokioResolver,
    search: Vec<String>,
    ndots: usize,
}

impl Searcher {
    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, DnsFailure> {
        let mut worst = DnsFailure::NoSuchName(name.to_owned());
        for candidate in candidates(name, &self.search, self.ndots) {
            match self.resolver.lookup_ip(candidate).await {
                Ok(answer) if answer.iter().next().is_some() => {
                    let (v6, v4) = answer.iter().partition(IpAddr::is_ipv6);
                    return Ok(in_turn(v6, v4));
                }
                Ok(_) => worst = graver(worst, DnsFailure::NoAddress(name.to_owned())),
                Err(error) => worst = graver(worst, failure(name, &error)),
            }
        }
        Err(worst)
    }
}

/// Returns the full names to ask for, in the order of resolv.conf(5).
fn candidates(name: &str, search: &[String], ndots: usize) -> Vec<String> {
    if name.ends_with('.') {
        return vec![name.to_owned()];
    }
    let full = format!("{name}.");
    let searched = search
        .iter()
        .map(|domain| format!("{full}{}", domain.trim_start_matches('.')));
    let searched = searched.map(|name| format!("{}.", name.trim_end_matches('.')));
    let first = name.matches('.').count() >= ndots;
    let mut all: Vec<_> = first
        .then(|| full.clone())
        .into_iter()
        .chain(searched)
        .collect();
    if !first {
        all.push(full);
    }
    all
}

/// Returns what weighs more: that nobody could tell, that there is no address, that there is no name.
fn graver(one: DnsFailure, other: DnsFailure) -> DnsFailure {
    let weight = |failure: &DnsFailure| match failure {
        DnsFailure::NoSuchName(_) => 0,
        DnsFailure::NoAddress(_) => 1,
        DnsFailure::ServerFailure { .. }
        | DnsFailure::Timeout(_)
        | DnsFailure::Unreachable { .. } => 2,
    };
    if weight(&other) > weight(&one) {
        other
    } else {
        one
    }
}

fn tuned(mut options: ResolverOpts) -> ResolverOpts {
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    options.cache_size = CACHED_ANSWERS;
    options.positive_max_ttl = Some(LONGEST_TTL);
    options.negative_max_ttl = Some(LONGEST_NEGATIVE_TTL);
    options
}

/// Takes from each in turn, IPv6 first.
fn in_turn(v6: Vec<IpAddr>, v4: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut all = Vec::with_capacity(v6.len() + v4.len());
    while v6.len() + v4.len() > 0 {
        all.extend(v6.next());
        all.extend(v4.next());
    }
    all
}

fn failure(name: &str, error: &NetError) -> DnsFailure {
    let name = name.to_owned();
    let code = match error {
        NetError::Timeout => return DnsFailure::Timeout(name),
        NetError::Dns(DnsError::NoRecordsFound(found)) => found.response_code,
        NetError::Dns(DnsError::ResponseCode(code)) => *code,
        other => {
            let reason = other.to_string();
            return DnsFailure::Unreachable { name, reason };
        }
    };
    match code {
        ResponseCode::NXDomain => DnsFailure::NoSuchName(name),
        ResponseCode::NoError => DnsFailure::NoAddress(name),
        ResponseCode::ServFail => DnsFailure::ServerFailure {
            name,
            code: "SERVFAIL".to_owned(),
        },
        ResponseCode::Refused => DnsFailure::ServerFailure {
            name,
            code: "REFUSED".to_owned(),
        },
        other => DnsFailure::ServerFailure {
            name,
            code: other.to_string(),
        },
    }
}
