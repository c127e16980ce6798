//! The names that Falco's loader requests, if they differ from those in the sources of kernels.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;

use crate::kernel::Kernel;
use crate::plan::{Build, Names, Plan};
use crate::target::{AskedNames, LoaderName};
use crate::text::{count, write_columns};

/// The names of a build's artifacts, without their extensions.
#[derive(Serialize)]
pub(super) struct BuildNames {
    /// The name from the kernel's source.
    pub(super) own: String,
    /// The other names under which the artifacts are published.
    pub(super) aliases: Vec<String>,
    /// The names that hosts request, published or not; empty if the loader cannot parse the kernel's release.
    pub(super) asked: Vec<String>,
}

impl BuildNames {
    pub(super) fn of(build: &Build, names: &Names) -> Self {
        let asked = AskedNames::of(&build.kernel);
        let own = build.name_for(&LoaderName::of(&build.kernel));
        let alias = names.published_alias(&build.kernel);
        let other = asked.other.or(asked.shared);
        let other = other.map(|name| build.name_for(&name));
        Self {
            aliases: alias.map(|name| build.name_for(name)).into_iter().collect(),
            asked: asked
                .own
                .then(|| own.clone())
                .into_iter()
                .chain(other)
                .collect(),
            own,
        }
    }
}

/// Writes the number of builds whose own name no host requests, if there are any.
pub(super) fn write_count(output: &mut dyn Write, unasked: usize) -> io::Result<()> {
    if unasked == 0 {
        return Ok(());
    }
    let builds = count(unasked, "build");
    writeln!(
        output,
        "{builds} with a name that Falco's loader never requests: --names lists their kernels"
    )
}

/// Writes a row for each kernel whose own name no host requests.
pub(super) fn write_names(output: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    let mut kernels: Vec<&Arc<Kernel>> = plan.builds.iter().map(|build| &build.kernel).collect();
    // Builds of one kernel are adjacent.
    kernels.dedup_by(|right, left| right.identity() == left.identity());
    let mut rows = vec![["KERNEL", "REQUESTED AS", "PUBLISHED AS THAT"].map(str::to_owned)];
    let mut targets: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for kernel in kernels {
        let asked = AskedNames::of(kernel);
        let [unasked, all] = targets.entry(kernel.target.as_str()).or_default();
        *all += 1;
        if asked.own {
            continue;
        }
        *unasked += 1;
        let is_shared = asked.shared.is_some();
        let (name, state) = match asked.other.or(asked.shared) {
            Some(name) => {
                let state = match plan.names.taken_by(kernel) {
                    Some(winner) => format!("no, {winner} has the name"),
                    None if is_shared => {
                        "no, other kernels are requested by the same name".to_owned()
                    }
                    None => "yes".to_owned(),
                };
                (
                    format!("{} {} #{}", name.target, name.release, name.version),
                    state,
                )
            }
            None => (
                "nothing: the loader cannot read the release".to_owned(),
                "no".to_owned(),
            ),
        };
        rows.push([kernel.to_string(), name, state]);
    }
    if rows.len() == 1 {
        return writeln!(output, "Hosts request every kernel by its own name.");
    }
    write_columns(output, [false, false, false], &rows)?;
    writeln!(output)?;
    let mut counts = vec![["TARGET", "KERNELS", "NOT REQUESTED BY THEIR NAME"].map(str::to_owned)];
    for (target, [unasked, all]) in targets.iter().filter(|(_, [unasked, _])| *unasked > 0) {
        counts.push([(*target).to_owned(), all.to_string(), unasked.to_string()]);
    }
    write_columns(output, [false, true, true], &counts)
}
