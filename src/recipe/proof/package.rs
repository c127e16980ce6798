//! The package of a kernel: named by the matrix or by the index of its source, or found beside the header packages.

use std::sync::Arc;

use crate::fetch::{ContentKind, Fetcher, Request};
use crate::kernel::Kernel;
use crate::redact;
use crate::target::kernel_image_addresses;

/// Returns the request for the package of a kernel, whose header packages came from `headers`; `None` if no package is
/// named and no rule knows its URL.
pub(crate) fn image_request(
    kernel: &Kernel,
    headers: &[Arc<str>],
    fetcher: &Fetcher,
) -> Option<Request> {
    if let Some(image) = &kernel.image {
        return Some(Request {
            kind: ContentKind::of_address(&image.url),
            candidates: vec![Arc::from(&*image.url)],
            sha256: image.sha256,
            size_bytes: image.size_bytes,
        });
    }
    let addresses = addresses(kernel, headers, fetcher);
    Some(Request {
        kind: ContentKind::of_address(addresses.first()?),
        candidates: addresses.into_iter().map(Arc::from).collect(),
        sha256: None,
        size_bytes: None,
    })
}

/// Returns the possible URLs of the kernel package, derived from the URLs of its header packages.
fn addresses(kernel: &Kernel, headers: &[Arc<str>], fetcher: &Fetcher) -> Vec<String> {
    // A mirror may not have the package next to the headers, so the original URLs are used.
    let headers = headers.iter().flat_map(|place| {
        let named = with_credentials(place, kernel);
        named.map_or_else(|| fetcher.originals(place), |url| vec![url.to_owned()])
    });
    let headers: Vec<String> = headers.collect();
    kernel_image_addresses(headers.iter().map(String::as_str))
}

/// Returns the URL of a kernel's package from its redacted form in reports.
fn with_credentials<'a>(place: &str, kernel: &'a Kernel) -> Option<&'a str> {
    let mut urls = kernel.packages.iter().map(|package| &*package.url);
    urls.find(|url| *url != place && redact::url(url) == place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Architecture, Package, PackageSet};

    #[test]
    fn a_package_is_found_by_its_url_in_reports() {
        let packages = ["https://user:s3cret@m/a.rpm", "https://m/b.rpm"];
        let kernel = Kernel {
            target: "fedora".parse().unwrap(),
            release: "6.1.0-1.fc40.x86_64".parse().unwrap(),
            version: "1".parse().unwrap(),
            architecture: Architecture::Amd64,
            packages: packages
                .into_iter()
                .map(Package::at)
                .collect::<PackageSet>(),
            config_sha256: None,
            upstream: None,
            image: None,
            source: "inline".into(),
        };
        for (place, expected) in [
            ("https://m/a.rpm", Some(packages[0])),
            ("https://m/b.rpm", None),
            ("https://other/a.rpm", None),
        ] {
            assert_eq!(with_credentials(place, &kernel), expected, "{place}");
        }
    }
}
