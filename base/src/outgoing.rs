//! The guarded HTTP client: for every address that a tenant, a contact or a provider chose.
//!
//! A request goes out only to public addresses. The guard sits in name resolution, so what is checked is what is
//! connected to (no second lookup in between), on every redirect as well; literal addresses are checked before.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use reqwest::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};

/// Why a request was not even tried.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    #[error("scheme {0} is not http or https")]
    Scheme(String),
    #[error("the address is internal; only public addresses are allowed")]
    Internal,
    #[error("the URL names no host")]
    NoHost,
    #[error("user name and password in a URL are not allowed")]
    Credentials,
}

/// Which internal networks may be reached all the same.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    allowed: Arc<[IpNet]>,
}

impl Guard {
    /// A guard that lets through public addresses and `allowed`.
    pub fn new(allowed: &[IpNet]) -> Self {
        Self {
            allowed: allowed.into(),
        }
    }

    /// Checks what can be told from the URL alone. Names are checked when they are resolved.
    ///
    /// # Errors
    /// The URL must not be fetched; the error says why.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Credentials);
        }
        let address = match url.host() {
            None => return Err(Refused::NoHost),
            Some(url::Host::Domain(_)) => return Ok(()),
            Some(url::Host::Ipv4(address)) => IpAddr::V4(address),
            Some(url::Host::Ipv6(address)) => IpAddr::V6(address),
        };
        if self.permits(address) {
            Ok(())
        } else {
            Err(Refused::Internal)
        }
    }

    /// Whether a connection to this address is allowed.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|net| net.contains(&address)) || is_public(address)
    }

    /// A client that cannot connect to what the guard forbids. Follows no redirect unless `redirects` is above 0;
    /// ignores proxies of the environment (a proxy would resolve names behind the guard's back).
    ///
    /// # Errors
    /// The TLS backend could not be set up.
    pub fn client(&self, deadline: Duration, redirects: usize) -> Result<Client, reqwest::Error> {
        let guard = self.clone();
        let policy = Policy::custom(move |attempt| {
            if attempt.previous().len() > redirects {
                return attempt.stop();
            }
            match guard.check(attempt.url()) {
                Ok(()) => attempt.follow(),
                Err(refused) => attempt.error(refused),
            }
        });
        Client::builder()
            .timeout(deadline)
            .connect_timeout(deadline.min(Duration::from_secs(10)))
            .redirect(policy)
            .no_proxy()
            .dns_resolver(Arc::new(GuardedResolver {
                guard: self.clone(),
            }))
            .user_agent(concat!("tributary/", env!("CARGO_PKG_VERSION")))
            .build()
    }
}

struct GuardedResolver {
    guard: Guard,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.guard.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> = found
                .filter(|address| guard.permits(address.ip()))
                .collect();
            if permitted.is_empty() {
                return Err(Refused::Internal.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

/// Whether the address is reachable on the public internet (RFC 6890 and its updates name those that are not).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => {
            let s = v6.segments();
            let embedded = match s {
                // NAT64 (RFC 6052) and 6to4 (RFC 3056) carry an IPv4 address that must be public itself.
                [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => Some((a, b)),
                _ => None,
            };
            if let Some((a, b)) = embedded {
                let [x, y] = [a.to_be_bytes(), b.to_be_bytes()];
                return is_public_v4(Ipv4Addr::new(x[0], x[1], y[0], y[1]));
            }
            // Global unicast is 2000::/3; 2001:db8::/32 and 3fff::/20 are documentation, 2001::/32 is Teredo.
            (s[0] & 0xe000) == 0x2000
                && !(s[0] == 0x2001 && matches!(s[1], 0 | 0xdb8))
                && !(s[0] == 0x3fff && s[1] < 0x1000)
        }
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let special = v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_documentation()
        || a == 0
        || a >= 224
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b));
    !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_addresses_are_refused_in_every_spelling() {
        let guard = Guard::default();
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://10.1.2.3/",
            "http://169.254.169.254/",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "http://0.0.0.0/",
            "http://[64:ff9b::a00:1]/",
            "http://100.64.0.1/",
            "http://[2002:7f00:1::]/",
            "http://224.0.0.1/",
        ] {
            let url = Url::parse(url).expect("test URL");
            assert_eq!(guard.check(&url), Err(Refused::Internal), "{url}");
        }
        for url in [
            "http://93.184.216.34/",
            "https://[2606:4700::1111]/",
            "https://example.org/",
        ] {
            assert_eq!(
                guard.check(&Url::parse(url).expect("test URL")),
                Ok(()),
                "{url}"
            );
        }
    }

    #[test]
    fn other_schemes_and_credentials_are_refused() {
        let guard = Guard::default();
        let check = |url: &str| guard.check(&Url::parse(url).expect("test URL"));
        assert_eq!(
            check("file:///etc/passwd"),
            Err(Refused::Scheme("file".to_owned()))
        );
        assert_eq!(check("http://a:b@example.org/"), Err(Refused::Credentials));
    }

    #[test]
    fn allowed_networks_pass() {
        let guard = Guard::new(&["127.0.0.0/8".parse().expect("network")]);
        assert!(guard.permits("127.0.0.1".parse().expect("address")));
        assert!(guard.permits("::ffff:127.0.0.1".parse().expect("address")));
        assert!(!guard.permits("10.0.0.1".parse().expect("address")));
    }

    #[tokio::test]
    async fn names_that_resolve_to_internal_addresses_are_refused() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Guard::default()
            .client(Duration::from_secs(5), 0)
            .expect("client");
        let error = client
            .get("http://localhost:9/")
            .send()
            .await
            .expect_err("must be refused");
        assert!(format!("{error:?}").contains("Internal"), "{error:?}");
    }
}
