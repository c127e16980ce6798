//! Finds Ubuntu's kernels of all flavours. A kernel has two packages of the same version: the headers of its flavour,
//! and the headers that flavours share.

use std::collections::BTreeMap;
use std::slice;

use url::Url;

use super::super::error::DiscoverMirrorError;
use super::archive::{Archives, Index, Suite, is_image_name};
use super::index::{self, IndexPackage};
use super::{MirrorKernel, MirrorKernels, Question};
use crate::fetch::Fetcher;
use crate::kernel::{Architecture, Kernel, ParseKernelError, TargetId};
use crate::target;

/// The target of kernels of any flavour.
const ANY_FLAVOUR: &str = "ubuntu";

/// Returns the requested kernels. If `is_asked` accepts it, the target of a kernel is the one that Falco's loader uses:
/// `ubuntu-` and a word of the flavour. Otherwise the target is `ubuntu`. Each architecture has archives of its own.
pub async fn discover(
    fetcher: &Fetcher,
    base_urls: &BTreeMap<Architecture, Vec<Url>>,
    is_asked: impl Fn(&str) -> bool,
    question: Question<'_>,
) -> Result<MirrorKernels, DiscoverMirrorError> {
    let mut found = MirrorKernels::default();
    for architecture in question.architectures {
        let archives = Archives {
            fetcher,
            base_urls: base_urls.get(architecture).map_or(&[], Vec::as_slice),
            question,
            required: slice::from_ref(architecture),
            optional: &[],
            is_wanted: |name| {
                (name.starts_with("linux-") && name.contains("headers-")) || is_image_name(name)
            },
        };
        for suite in &archives.read(&mut found.notices).await? {
            if let Some(index) = suite.indexes.get(architecture) {
                kernels(suite, index, *architecture, &is_asked, question, &mut found);
            }
        }
    }
    Ok(found)
}

fn kernels(
    suite: &Suite,
    index: &Index,
    architecture: Architecture,
    is_asked: &dyn Fn(&str) -> bool,
    question: Question<'_>,
    found: &mut MirrorKernels,
) {
    let mut kernels = Vec::new();
    for headers in &index.packages {
        // Other packages are shared by flavours, or are meta packages for the newest kernel of a line.
        let Some(name) = Name::of(headers, architecture) else {
            continue;
        };
        if !question.wants_flavour(name.flavour) {
            continue;
        }
        match name.kernel(headers, index, architecture, is_asked) {
            Ok(None) => {}
            Ok(Some(kernel)) => kernels.push(MirrorKernel {
                kernel,
                suite: suite.name.clone(),
                flavour: name.flavour.to_owned(),
                version: headers.version.clone(),
            }),
            Err(reason) => found.notices.push(format!(
                "{} {} of {} is skipped: {reason}",
                headers.name, headers.version, suite.name
            )),
        }
    }
    found.add(kernels);
}

/// The parts of `linux-headers-5.15.0-91-generic`.
struct Name<'a> {
    /// The output of `uname -r`: `5.15.0-91-generic`.
    release: &'a str,
    /// Version and ABI number: `5.15.0-91`.
    abi: &'a str,
    flavour: &'a str,
}

impl<'a> Name<'a> {
    fn of(package: &'a IndexPackage, architecture: Architecture) -> Option<Self> {
        if package.architecture != architecture.as_str() {
            return None;
        }
        let release = package.name.strip_prefix("linux-headers-")?;
        let (version, rest) = release.split_once('-')?;
        let (number, flavour) = rest.split_once('-')?;
        let is_digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let is_kernel = version.split('.').count() == 3
            && version.split('.').all(is_digits)
            && is_digits(number);
        let abi = &release[..version.len() + 1 + number.len()];
        is_kernel.then_some(Self {
            release,
            abi,
            flavour,
        })
    }

    /// Returns the kernel; `None` if its target is not requested.
    fn kernel(
        &self,
        headers: &IndexPackage,
        index: &Index,
        architecture: Architecture,
        is_asked: &dyn Fn(&str) -> bool,
    ) -> Result<Option<Kernel>, String> {
        let text = |error: ParseKernelError| error.to_string();
        let full = index::without_epoch(&headers.version);
        let version = full
            .strip_prefix(self.abi)
            .and_then(|rest| rest.strip_prefix('.'))
            .ok_or_else(|| format!("its version does not start with {}.", self.abi))?;
        let common_name = headers
            .dependency(|name| {
                let middle = name
                    .strip_prefix("linux-")
                    .and_then(|name| name.strip_suffix(self.abi));
                middle.is_some_and(|middle| middle == "headers-" || middle.ends_with("-headers-"))
            })
            .ok_or("it does not depend on headers that flavours share")?;
        let common = index
            .packages
            .iter()
            .find(|one| one.name == common_name && one.version == headers.version)
            .ok_or_else(|| format!("{common_name} {full} does not exist"))?;
        let mut kernel = Kernel {
            target: ANY_FLAVOUR.parse().map_err(text)?,
            release: self.release.parse().map_err(text)?,
            version: version.parse().map_err(text)?,
            architecture,
            packages: vec![index.package(headers, None), index.package(common, None)].into(),
            config_sha256: None,
            upstream: None,
            image: index.image(headers),
            source: "mirror".into(),
        };
        if let Some(target) = target_of(&kernel)
            && is_asked(target.as_str())
        {
            kernel.target = target;
        } else if !is_asked(ANY_FLAVOUR) {
            return Ok(None);
        }
        Ok(Some(kernel))
    }
}

/// Returns the target that the loader uses for a kernel.
fn target_of(kernel: &Kernel) -> Option<TargetId> {
    let name = target::find(&kernel.target)?.loader_name(kernel)?;
    Some(name.target)
}
