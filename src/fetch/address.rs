//! Addresses: a mirror's, and where a redirect leads.

use crate::error::{Error, Result};

/// `scheme://authority` and the rest of an address, which begins with `/` or is empty.
fn split(url: &str) -> Option<(&str, &str)> {
    let scheme = ["https://", "http://"]
        .into_iter()
        .find(|s| url.get(..s.len()).is_some_and(|start| start.eq_ignore_ascii_case(s)))?;
    let authority =
        url[scheme.len()..].find(['/', '?', '#']).map_or(url.len(), |n| scheme.len() + n);
    (authority > scheme.len() && !url.contains(|c: char| c.is_whitespace() || c.is_control()))
        .then(|| url.split_at(authority))
}

/// Whether it is `http://`: nothing says who answers.
pub(super) fn is_plain(url: &str) -> bool {
    url.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("http://"))
}

/// The same path on another host: `base` takes the place of `https://HOST`.
pub(super) fn mirrored(url: &str, base: &str) -> Result<String> {
    let wrong = || {
        Error::request(
            format!("`--base-url {base}` is no address"),
            "write it as `https://HOST` or `http://HOST:PORT/PATH`; it takes the place of `https://HOST` in the \
             addresses of `nada fetch --list`",
        )
    };
    let (_, rest) = split(url).ok_or_else(wrong)?;
    split(base).ok_or_else(wrong)?;
    if base.contains(['?', '#']) {
        return Err(wrong());
    }
    Ok(format!("{}{rest}", base.trim_end_matches('/')))
}

/// Where a redirect from `from` to `location` leads; `plain` allows a way out of `https`. The error is a message.
pub(super) fn follow(
    from: &str,
    location: &str,
    plain: bool,
) -> std::result::Result<String, String> {
    let (origin, path) = split(from).ok_or("an address that is none")?;
    let scheme = origin.split("//").next().unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let folder = path.rfind('/').map_or("/", |slash| &path[..=slash]);
    let location = location.split('#').next().unwrap_or_default();
    let to = if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}{location}")
    } else if location.starts_with('/') {
        format!("{origin}{location}")
    } else if location.is_empty() {
        return Err("the server redirects to nowhere".into());
    } else {
        format!("{origin}{folder}{location}")
    };
    if split(&to).is_none() {
        return Err(format!("the server redirects to `{to}`, which is no web address"));
    }
    if is_plain(&to) && !plain {
        return Err(format!(
            "the server redirects from https to `{to}`, where anyone could answer"
        ));
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_takes_the_place_of_the_host() {
        let url = "https://a.b/c/d.pt";
        for (base, want) in [
            ("https://m.org", "https://m.org/c/d.pt"),
            ("http://m.org:80/x/", "http://m.org:80/x/c/d.pt"),
            ("HTTP://m.org", "HTTP://m.org/c/d.pt"),
        ] {
            assert_eq!(mirrored(url, base).unwrap(), want);
        }
        for base in ["m.org", "ftp://m.org", "https://", "https://m.org?x=1", "https://m org", ""] {
            assert_eq!(mirrored(url, base).unwrap_err().exit_code(), 2, "{base}");
        }
    }

    #[test]
    fn redirects_are_followed_but_not_out_of_https() {
        let from = "https://a.b/c/d.pt?x=1";
        for (location, want) in [
            ("https://e.f/g?h#i", "https://e.f/g?h"),
            ("//e.f/g", "https://e.f/g"),
            ("/g", "https://a.b/g"),
            ("g", "https://a.b/c/g"),
        ] {
            assert_eq!(follow(from, location, false).unwrap(), want);
        }
        assert!(
            follow(from, "http://a.b/c", false)
                .unwrap_err()
                .contains("from https to `http://a.b/c`")
        );
        assert_eq!(follow(from, "http://a.b/c", true).unwrap(), "http://a.b/c");
        assert_eq!(follow("http://a.b", "c", true).unwrap(), "http://a.b/c");
        for bad in ["file:///etc/passwd", "", "#x", "https://", "ht tp://x"] {
            assert!(follow(from, bad, true).is_err(), "{bad}");
        }
    }
}
