//! Which pages may talk to a widget. Browsers name the page in `Origin` and apply no other rule to WebSockets.
//!
//! This stops other sites, not programs: those write whatever they like, and meet the rate limits.

use url::Url;

/// The configured list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origins(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// `https://shop.example:8443`, as browsers write it.
    Exact(String),
    /// `.shop.example`: every host below it, whatever scheme and port.
    Below(String),
}

const ADVICE: &str =
    "not an origin; write for example \"https://shop.example\" or \"*.shop.example\"";

impl Origins {
    /// Reads the list.
    ///
    /// # Errors
    /// Each entry that is no origin, by its place.
    pub(super) fn parse(list: &[String]) -> Result<Self, Vec<(usize, &'static str)>> {
        let mut patterns = Vec::new();
        let mut wrong = Vec::new();
        for (index, text) in list.iter().enumerate() {
            match pattern(text) {
                Some(pattern) => patterns.push(pattern),
                None => wrong.push((index, ADVICE)),
            }
        }
        if wrong.is_empty() {
            Ok(Self(patterns))
        } else {
            Err(wrong)
        }
    }

    /// Whether any page is allowed.
    pub(super) fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a page of this origin may show the widget. With a list, no origin is a wrong one.
    pub(super) fn allow(&self, origin: Option<&str>) -> bool {
        if self.is_open() {
            return true;
        }
        let Some(url) = origin.and_then(origin_url) else {
            return false;
        };
        let origin = url.origin().ascii_serialization();
        let host = url.host_str().unwrap_or_default();
        self.0.iter().any(|pattern| match pattern {
            Pattern::Exact(allowed) => *allowed == origin,
            Pattern::Below(domain) => host
                .strip_suffix(domain.as_str())
                .is_some_and(|below| !below.is_empty()),
        })
    }
}

fn pattern(text: &str) -> Option<Pattern> {
    if let Some(domain) = text.strip_prefix("*.") {
        // Through the URL parser, so that case and international names compare as browsers write them.
        let url = origin_url(&format!("https://{domain}"))?;
        let plain = url.port().is_none() && !domain.contains('*');
        let host = url.domain().filter(|_| plain)?;
        return Some(Pattern::Below(format!(".{host}")));
    }
    if text.contains('*') {
        return None;
    }
    let url = origin_url(text)?;
    Some(Pattern::Exact(url.origin().ascii_serialization()))
}

/// Scheme, host and port, and nothing else.
fn origin_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && bare).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(list: &[&str]) -> Origins {
        let list: Vec<String> = list.iter().map(|&text| text.to_owned()).collect();
        Origins::parse(&list).expect("origins")
    }

    #[test]
    fn without_a_list_every_page_is_allowed() {
        let open = origins(&[]);
        assert!(open.allow(Some("https://anything.example")) && open.allow(None));
    }

    #[test]
    fn exact_origins() {
        let list = origins(&["https://Shop.example", "http://localhost:8080/"]);
        for allowed in [
            "https://shop.example",
            "https://shop.example:443",
            "http://localhost:8080",
        ] {
            assert!(list.allow(Some(allowed)), "{allowed}");
        }
        for refused in [
            "http://shop.example",
            "https://shop.example:8443",
            "https://www.shop.example",
            "https://shop.example.evil.example",
            "https://shop.example@evil.example",
            "http://localhost",
            "null",
            "",
        ] {
            assert!(!list.allow(Some(refused)), "{refused}");
        }
        assert!(!list.allow(None));
    }

    #[test]
    fn everything_below_a_host() {
        let list = origins(&["*.shop.example"]);
        for allowed in [
            "https://www.shop.example",
            "http://a.b.shop.example:8080",
            "https://WWW.SHOP.example",
        ] {
            assert!(list.allow(Some(allowed)), "{allowed}");
        }
        for refused in [
            "https://shop.example",
            "https://evilshop.example",
            "https://www.shop.example.evil.example",
            "ftp://www.shop.example",
        ] {
            assert!(!list.allow(Some(refused)), "{refused}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "",
            "*",
            "shop.example",
            "https://",
            "https://*.shop.example",
            "*.*.example",
            "*.shop.example:8080",
            "*.127.0.0.1",
            "https://shop.example/path",
            "https://me@shop.example",
            "data:text/plain,x",
        ] {
            let list = [text.to_owned()];
            assert_eq!(Origins::parse(&list), Err(vec![(0, ADVICE)]), "{text}");
        }
    }
}
