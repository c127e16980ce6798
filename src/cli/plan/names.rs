//! The names that Falco's loader requests, if they differ from those in the sources of kernels.

use std::collections::BTreeMap;
use std::io::{self, Write};

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
        let mut artifacts = build.artifacts.iter();
        let alias = artifacts.find_map(|artifact| names.published_alias(build, *artifact));
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
    // Builds of one kernel are adjacent.
    let kernels = plan
        .builds
        .chunk_by(|left, right| left.kernel.identity() == right.kernel.identity());
    let mut rows = vec![["KERNEL", "REQUESTED AS", "PUBLISHED AS THAT"].map(str::to_owned)];
    let mut targets: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for builds in kernels {
        let kernel = &builds[0].kernel;
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
                let state = match taken_by(&plan.names, builds) {
                    Some((winner, free)) if free.is_empty() => {
                        format!("no, {winner} has the name")
                    }
                    Some((winner, free)) => {
                        format!("only for {}, else {winner} has the name", free.join(", "))
                    }
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

/// Returns the kernel that has the loader name of these builds of one kernel, and the driver versions for which they have
/// the name themselves, because nothing is built for the other kernel.
fn taken_by<'a>(names: &'a Names, builds: &'a [Build]) -> Option<(&'a Kernel, Vec<&'a str>)> {
    let winner_of = |build: &'a Build| {
        let mut artifacts = build.artifacts.iter();
        artifacts.find_map(|artifact| names.taken_by(build, *artifact))
    };
    let winner = builds.iter().find_map(winner_of)?;
    let free = builds.iter().filter(|build| winner_of(build).is_none());
    Some((
        winner,
        free.map(|build| build.driver.version.as_str()).collect(),
    ))
}
