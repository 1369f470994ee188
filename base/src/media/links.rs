//! Links to stored media: signed, so that nobody makes one up, and expiring.
//!
//! `<base>/media/<organization>/<media id>/<name>?e=<unix seconds>&s=<HMAC-SHA256, hex>`. The signature covers everything
//! before it, so a link opens one medium of one organization under one name until one moment.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tributary_config::{Secret, Settings};
use url::Url;

use super::{is_media_id, is_organization, safe_name};

/// Links end at a full hour, so that the same medium has the same link for a while and caches can use it.
const GRAIN: u64 = 3600;

/// Makes and checks links. Cheap to clone.
#[derive(Clone)]
pub struct MediaLinks(Arc<Signer>);

struct Signer {
    key: Secret,
    base: Url,
    public: bool,
    lifetime: Duration,
    webhook_lifetime: Duration,
}

/// Why a link does not open anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It did once.
    #[error("the link has expired; ask for the message again to get a new one")]
    Expired,
    /// Made up, cut short, or signed with another key.
    #[error("the link is not valid")]
    Invalid,
}

impl MediaLinks {
    /// A signer. `ingress` is where the ingress of this process really listens, where it has one.
    pub fn new(key: Secret, settings: &Settings, ingress: Option<SocketAddr>) -> Self {
        let media = &settings.media;
        let configured = media
            .public_url
            .as_ref()
            .or(settings.ingress.public_url.as_ref());
        let base = configured
            .cloned()
            .unwrap_or_else(|| local(ingress.unwrap_or(settings.ingress.listen)));
        Self(Arc::new(Signer {
            key,
            public: configured.is_some(),
            base,
            lifetime: media.link_lifetime,
            webhook_lifetime: media.webhook_link_lifetime,
        }))
    }

    /// A link for who asks right now. `None`: that is no medium's id.
    pub fn link(&self, organization: &str, media_id: &str, name: Option<&str>) -> Option<Url> {
        self.signed(organization, media_id, name, self.0.lifetime)
    }

    /// A link in what may be read days later.
    pub fn webhook_link(
        &self,
        organization: &str,
        media_id: &str,
        name: Option<&str>,
    ) -> Option<Url> {
        self.signed(organization, media_id, name, self.0.webhook_lifetime)
    }

    /// [`MediaLinks::link`] for a provider; `None` when the internet cannot reach us.
    pub fn public_link(
        &self,
        organization: &str,
        media_id: &str,
        name: Option<&str>,
    ) -> Option<Url> {
        self.0
            .public
            .then(|| self.link(organization, media_id, name))?
    }

    fn signed(
        &self,
        organization: &str,
        media_id: &str,
        name: Option<&str>,
        lifetime: Duration,
    ) -> Option<Url> {
        let expires = unix_now().saturating_add(lifetime.as_secs());
        let expires = match lifetime.as_secs() {
            GRAIN.. => expires.div_ceil(GRAIN).saturating_mul(GRAIN),
            _ => expires,
        };
        self.signed_until(organization, media_id, name, expires)
    }

    fn signed_until(
        &self,
        organization: &str,
        media_id: &str,
        name: Option<&str>,
        expires: u64,
    ) -> Option<Url> {
        if !is_organization(organization) || !is_media_id(media_id) {
            return None;
        }
        let name = safe_name(name);
        let mut url = self.0.base.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend([
            "media",
            organization,
            media_id,
            &name,
        ]);
        let signature = self.signature(organization, media_id, &name, expires);
        url.set_query(Some(&format!("e={expires}&s={}", hex::encode(signature))));
        url.set_fragment(None);
        Some(url)
    }

    /// Checks a link by its parts; `name` as it is after percent-decoding.
    ///
    /// # Errors
    /// It is not one of ours, or too old.
    pub fn verify(
        &self,
        organization: &str,
        media_id: &str,
        name: &str,
        query: Option<&str>,
    ) -> Result<(), LinkError> {
        self.verify_at(organization, media_id, name, query, unix_now())
    }

    fn verify_at(
        &self,
        organization: &str,
        media_id: &str,
        name: &str,
        query: Option<&str>,
        now: u64,
    ) -> Result<(), LinkError> {
        if !is_organization(organization) || !is_media_id(media_id) {
            return Err(LinkError::Invalid);
        }
        let (expires, given) = read_query(query.unwrap_or_default()).ok_or(LinkError::Invalid)?;
        let expected = self.signature(organization, media_id, name, expires);
        if !bool::from(expected.as_slice().ct_eq(&given)) {
            return Err(LinkError::Invalid);
        }
        // Only who holds a true link learns that it has expired.
        if expires < now {
            return Err(LinkError::Expired);
        }
        Ok(())
    }

    /// Fields are kept apart by line feeds: organization and id have none, the last one is a number.
    fn signature(&self, organization: &str, media_id: &str, name: &str, expires: u64) -> Vec<u8> {
        // HMAC takes keys of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.key.expose().as_bytes())
            .expect("HMAC accepts a key of any length");
        mac.update(format!("media.v1\n{organization}\n{media_id}\n{name}\n{expires}").as_bytes());
        mac.finalize().into_bytes().to_vec()
    }
}

/// Never shows the key.
impl std::fmt::Debug for MediaLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MediaLinks({})", self.0.base)
    }
}

/// `e` and `s`, each once and in their one spelling.
fn read_query(query: &str) -> Option<(u64, Vec<u8>)> {
    let (mut expires, mut signature) = (None, None);
    for pair in query.split('&') {
        match pair.split_once('=')? {
            ("e", value) if expires.is_none() => expires = Some(value),
            ("s", value) if signature.is_none() => signature = Some(value),
            _ => return None,
        }
    }
    let text = expires?;
    let expires: u64 = text.parse().ok()?;
    (expires.to_string() == text).then_some(())?;
    Some((expires, hex::decode(signature?).ok()?))
}

fn local(address: SocketAddr) -> Url {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let address = SocketAddr::new(ip, address.port());
    Url::parse(&format!("http://{address}/")).expect("a socket address is a valid authority")
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const OTHER: &str = "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn links(config: &str, key: &str) -> MediaLinks {
        let settings = tributary_config::load_text("test", config, &[]).expect("settings");
        MediaLinks::new(Secret::new(key), &settings, None)
    }

    type Change<'a> = &'a dyn Fn(&mut Parts);

    struct Parts {
        organization: String,
        id: String,
        name: String,
        query: String,
    }

    fn parts(url: &Url) -> Parts {
        let path: Vec<String> = url
            .path_segments()
            .expect("a path")
            .map(|s| {
                percent_encoding::percent_decode_str(s)
                    .decode_utf8_lossy()
                    .into_owned()
            })
            .collect();
        let [.., media, organization, id, name] = path.as_slice() else {
            panic!("{url}")
        };
        assert_eq!(media, "media");
        Parts {
            organization: organization.clone(),
            id: id.clone(),
            name: name.clone(),
            query: url.query().expect("a query").to_owned(),
        }
    }

    fn check(links: &MediaLinks, parts: &Parts, now: u64) -> Result<(), LinkError> {
        let Parts {
            organization,
            id,
            name,
            query,
        } = parts;
        links.verify_at(organization, id, name, Some(query), now)
    }

    #[test]
    fn a_link_opens_what_it_was_made_for_until_it_expires() {
        let links = links("", "k".repeat(40).as_str());
        let url = links
            .signed_until("acme", ID, Some("мій звіт 1/2.pdf"), 1_000_000)
            .expect("a link");
        let good = parts(&url);
        assert_eq!(good.name, "2.pdf");
        assert_eq!(check(&links, &good, 999_999), Ok(()));
        assert_eq!(check(&links, &good, 1_000_000), Ok(()));
        assert_eq!(check(&links, &good, 1_000_001), Err(LinkError::Expired));
    }

    #[test]
    fn nothing_of_a_link_can_be_changed() {
        let ours = links("", "k".repeat(40).as_str());
        let url = ours
            .signed_until("acme", ID, Some("a.png"), 1_000_000)
            .expect("a link");
        let signature = url
            .query()
            .and_then(|q| q.split_once("&s="))
            .expect("signed")
            .1;
        let turned = |c: &str| if signature.ends_with(c) { "0" } else { "f" };
        let flipped = format!("e=1000000&s={}{}", &signature[..63], turned("f"));
        let changed: [(&str, Change<'_>); 13] = [
            ("other organization", &|p| {
                p.organization = "umbrella".into()
            }),
            ("other medium", &|p| p.id = OTHER.into()),
            ("other name", &|p| p.name = "a.html".into()),
            ("later", &|p| p.query = format!("e=9000000&s={signature}")),
            ("earlier", &|p| p.query = format!("e=900000&s={signature}")),
            ("spelled otherwise", &|p| {
                p.query = format!("e=01000000&s={signature}")
            }),
            ("one bit", &|p| p.query.clone_from(&flipped)),
            ("cut short", &|p| {
                p.query = format!("e=1000000&s={}", &signature[..62])
            }),
            ("empty signature", &|p| p.query = "e=1000000&s=".into()),
            ("no signature", &|p| p.query = "e=1000000".into()),
            ("twice", &|p| {
                p.query = format!("e=1000000&s={signature}&e=9000000")
            }),
            ("more", &|p| {
                p.query = format!("e=1000000&s={signature}&x=1")
            }),
            ("a path for an id", &|p| p.id = "../../etc/passwd".into()),
        ];
        for (what, change) in changed {
            let mut parts = parts(&url);
            change(&mut parts);
            assert_eq!(check(&ours, &parts, 1), Err(LinkError::Invalid), "{what}");
        }
        let theirs = links("", "j".repeat(40).as_str());
        assert_eq!(
            check(&theirs, &parts(&url), 1),
            Err(LinkError::Invalid),
            "other key"
        );
        assert_eq!(
            ours.verify_at("acme", ID, "a.png", None, 1),
            Err(LinkError::Invalid)
        );
    }

    #[test]
    fn links_stand_below_the_address_that_the_internet_knows() {
        let key = "k".repeat(40);
        for (config, begins, public) in [
            ("", "http://127.0.0.1:8080/media/acme/", false),
            (
                "[ingress]\nlisten = '0.0.0.0:99'",
                "http://127.0.0.1:99/media/acme/",
                false,
            ),
            (
                "[ingress]\npublic_url = 'https://chat.example.org/t/'",
                "https://chat.example.org/t/media/acme/",
                true,
            ),
            (
                "[ingress]\npublic_url = 'https://chat.example.org'\n[media]\npublic_url = 'https://files.example.org'",
                "https://files.example.org/media/acme/",
                true,
            ),
        ] {
            let links = links(config, &key);
            let url = links.link("acme", ID, None).expect("a link");
            assert!(url.as_str().starts_with(begins), "{url}");
            assert!(url.path().ends_with("/file"), "{url}");
            assert_eq!(
                links.public_link("acme", ID, None).is_some(),
                public,
                "{config}"
            );
            let given = parts(&url);
            assert_eq!(check(&links, &given, unix_now()), Ok(()));
            let day = unix_now() + 24 * 3600;
            assert_eq!(check(&links, &given, day - 60), Ok(()), "a day");
            assert_eq!(
                check(&links, &given, day + 3601),
                Err(LinkError::Expired),
                "and at most an hour"
            );
        }
        assert_eq!(links("", &key).link("acme", "nonsense", None), None);
        assert_eq!(links("", &key).link("_incoming", ID, None), None);
        assert!(!format!("{:?}", links("", &key)).contains(&key));
    }
}
