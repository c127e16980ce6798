//! The files that a plan needs from elsewhere, to report which are missing without network access, and to transfer them
//! to a machine without a network.

use std::collections::HashSet;
use std::sync::Arc;

use crate::driver::DriverLocation;
use crate::fetch::{ContentKind, Request};
use crate::kernel::{Architecture, Kernel};
use crate::plan::{Build, Plan};
use crate::recipe::files::{request_for, request_for_text};
use crate::target;

/// A file that a plan needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The request that fetches the file.
    pub request: Request,
    /// Whether the digest was only recorded by an earlier run, not published.
    pub is_noted: bool,
    /// The first kernel or driver that needs the file.
    pub wanted_by: String,
}

/// Returns the files that `plan` needs on a building machine of architecture `host`, each once. `text_of` returns the
/// content of a distribution's list, if available; otherwise only the list is known to be needed. Kernels whose
/// packages are unknown are skipped. `image_of` returns the request for the package of a kernel with these headers, in
/// which its modules are proven.
pub fn needs(
    plan: &Plan,
    host: Architecture,
    text_of: impl Fn(&Request) -> Option<String>,
    image_of: impl Fn(&Kernel, &[Request]) -> Option<Request>,
) -> Vec<Need> {
    let mut seen = HashSet::new();
    let mut needs = Vec::new();
    let mut add = |request: Request, is_noted: bool, wanted_by: String| {
        if seen.insert(request.candidates.clone()) {
            needs.push(Need {
                request,
                is_noted,
                wanted_by,
            });
        }
    };
    // Builds of the same kernel are adjacent.
    for of_kernel in plan.builds.chunk_by(Build::shares_kernel) {
        for build in of_kernel {
            if let DriverLocation::Url(url) = &build.driver.location {
                let request = Request {
                    candidates: vec![Arc::from(url.as_str())],
                    sha256: None,
                    size_bytes: None,
                    kind: ContentKind::Tarball,
                };
                add(request, false, format!("driver {}", build.driver.version));
            }
        }
        let kernel = &*of_kernel[0].kernel;
        let mut headers = Vec::new();
        for (request, is_noted) in self::of_kernel(kernel, host, &text_of) {
            // Only the list names that source.
            let further = match request.kind {
                ContentKind::Text if text_of(&request).is_none() => {
                    ", and the kernel source that it names"
                }
                _ => "",
            };
            headers.push(request.clone());
            add(request, is_noted, format!("{kernel}{further}"));
        }
        if of_kernel
            .iter()
            .any(|build| !build.settings.prove.is_none())
            && let Some(request) = image_of(kernel, &headers)
        {
            add(request, false, format!("proofs in {kernel}"));
        }
    }
    needs
}

fn of_kernel(
    kernel: &Kernel,
    host: Architecture,
    text_of: &impl Fn(&Request) -> Option<String>,
) -> Vec<(Request, bool)> {
    let Some(target) = target::rules_of(kernel) else {
        return Vec::new();
    };
    let mut requests = Vec::new();
    let mut kernel = kernel.clone();
    if kernel.upstream.is_none()
        && let Some(list) = target.upstream_list(&kernel)
    {
        let request = request_for_text(&list, ContentKind::Text);
        let text = text_of(&request);
        requests.push((request, false));
        let upstream = text.and_then(|text| target.read_upstream(&text).ok());
        kernel.upstream = upstream.map(Box::new);
    }
    if kernel.config_sha256.is_none()
        && let Some(published) = target.published_config(&kernel)
    {
        let request = request_for_text(&published, ContentKind::Configuration);
        requests.push((request, false));
    }
    let packages = target.header_packages(&kernel, host).unwrap_or_default();
    let packages = packages.iter();
    requests.extend(packages.map(|package| (request_for(package), package.is_noted)));
    requests
}
