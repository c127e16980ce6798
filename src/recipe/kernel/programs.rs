//! Programs of a header tree that the builder image cannot run: built for another architecture, or for a newer C
//! library.
//!
//! They are made to run in an adapted copy of the tree. Preferably they are compiled again, in a job, from the sources
//! next to them. A program without sources is kept behind a script that runs it with its own loader and libraries or,
//! for another architecture, under qemu-user; both come from an image that was built here. None of this needs
//! `binfmt_misc` or any other feature of the machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::{KeyBuilder, Sha256};
use crate::engine::Engine;
use crate::engine::ended::script_failure;
use crate::engine::halt::{Halt, Mode};
use crate::engine::job::JobRequest;
use crate::engine::work::{Done, Work};
use crate::executor::Network;
use crate::failure::Phase;
use crate::fs::{self, FileError, ForeignFolder, blocking};
use crate::image;
use crate::kernel::Architecture;
use crate::plan::Build;
use crate::recipe::kernel::adapted_tree::{link_all, replace, wrapper};
use crate::recipe::kernel::packages::Packages;
use crate::recipe::kernel::tree::{
    Adaptation, Adapted, Inspection, KernelInputs, Origin, ProgramPlan, TreeProgram, shown_at,
};
use crate::recipe::toolchain::{ChosenToolchain, ToolchainChooser};
use crate::script::{self, ProgramToBuild};
use crate::store::Store;
use crate::unpack::tree_digest_of_folder;
use crate::verify::HostProgram;

/// The directory in a tree for loaders, libraries, emulators and the programs they run.
const OWN_FOLDER: &str = ".driverkit-matrix";

/// The maximum size of a program, larger than any program of a header tree.
const MOST_PROGRAM_BYTES: u64 = 64 << 20;

impl TreeProgram {
    /// Returns the path of the program in a job.
    fn place(&self) -> PathBuf {
        shown_at(&self.mount).join(&self.program.path)
    }

    /// Returns the path of the program in its tree.
    fn inside(&self) -> PathBuf {
        self.mount.join(&self.program.path)
    }

    fn cannot_run(&self, host: Architecture, libc: Option<(u32, u32)>) -> bool {
        let HostProgram {
            architecture,
            libc: needed,
            ..
        } = self.program;
        architecture != Some(host) || libc.is_some_and(|libc| needed > Some(libc))
    }

    /// Returns the file names of its sources, if all of them are next to the program.
    fn sources(&self, folder: &Path) -> Option<Vec<String>> {
        let name = self.program.path.file_name()?.to_str()?;
        let is_file = |found: std::fs::Metadata| found.is_file();
        let has = |name: &str| folder.join(name).symlink_metadata().is_ok_and(is_file);
        let single = format!("{name}.c");
        match name {
            "fixdep" | "recordmcount" => has(&single).then(|| vec![single]),
            // This header is generated from the kernel's configuration.
            "modpost" if has("modpost.c") && has("devicetable-offsets.h") => {
                let entries = std::fs::read_dir(folder).ok()?;
                let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
                let is_part = |name: &String| {
                    Path::new(name).extension().is_some_and(|end| end == "c")
                        && !["mk_elfconfig.c", "empty.c", "devicetable-offsets.c"]
                            .contains(&&**name)
                };
                let mut sources: Vec<String> = names.filter(is_part).collect();
                sources.sort();
                Some(sources)
            }
            _ => None,
        }
    }
}

/// Makes programs of header trees run.
pub(crate) struct Programs {
    engine: Arc<Engine>,
    packages: Arc<Packages>,
    toolchains: Arc<ToolchainChooser>,
}

impl Programs {
    pub(crate) fn new(
        engine: Arc<Engine>,
        packages: Arc<Packages>,
        toolchains: Arc<ToolchainChooser>,
    ) -> Self {
        Self {
            engine,
            packages,
            toolchains,
        }
    }

    /// Returns the kernel with programs that the toolchain can run, with the step that adapted them if this build ran
    /// it. Programs that cannot be adapted stay as they are: the toolchain check reports the one that fails.
    pub(crate) async fn with_programs(
        &self,
        build: &Build,
        kernel: &Arc<KernelInputs>,
        toolchain: &ChosenToolchain,
        mode: Mode,
    ) -> Result<(Arc<KernelInputs>, Option<Done>), Halt> {
        let libc = self
            .toolchains
            .toolchains()
            .libc(toolchain.toolchain.identity());
        let programs = kernel.inspection.programs.iter();
        let unfit: Vec<_> = programs
            .filter(|program| program.cannot_run(self.engine.host, libc))
            .cloned()
            .collect();
        if unfit.is_empty() {
            return Ok((kernel.clone(), None));
        }
        let machines: BTreeSet<_> = unfit
            .iter()
            .filter_map(|unfit| unfit.program.architecture)
            .collect();
        let runtimes = machines.into_iter().filter_map(|machine| {
            let image = self
                .toolchains
                .toolchains()
                .runtime(machine, self.engine.host)?;
            Some((machine, image))
        });
        let plan = ProgramPlan {
            toolchain: toolchain.clone(),
            runtimes: runtimes.collect(),
            host: self.engine.host,
            unfit,
        };
        let inputs = plan.key(kernel);
        let work = self.adapt_now(build, kernel, &plan);
        let done = self
            .engine
            .step(mode, Phase::Prepare, inputs, Box::pin(work))
            .await?;
        let outcome: Adapted = done.facts(Phase::Prepare)?;
        let new = |tree: Sha256| {
            let pair = outcome.trees.iter().find(|(original, _)| *original == tree);
            pair.map_or(tree, |(_, adapted)| *adapted)
        };
        let mounts = kernel.inspection.mounts.iter();
        let inspection = Inspection {
            mounts: mounts
                .map(|(tree, path)| (new(*tree), path.clone()))
                .collect(),
            ..kernel.inspection.clone()
        };
        let adapted = KernelInputs {
            inspection,
            origin: Origin::Adapted(Arc::new(Adaptation {
                original: kernel.clone(),
                plan,
                outcome,
            })),
            ..KernelInputs::clone(kernel)
        };
        Ok((Arc::new(adapted), done.is_own.then_some(done)))
    }

    /// Ensures that the adapted trees are in the store, rebuilding those that were removed.
    pub(crate) async fn materialise(
        &self,
        build: &Build,
        adaptation: &Adaptation,
    ) -> Result<(), Halt> {
        let Adaptation {
            original,
            plan,
            outcome,
        } = adaptation;
        let trees: Vec<Sha256> = outcome.trees.iter().map(|(_, adapted)| *adapted).collect();
        let whose = format!("the programs of {}", build.kernel);
        let adapt = self.adapt_now(build, original, plan);
        let (step, phase) = (plan.key(original), Phase::Prepare);
        self.engine
            .trees
            .ensure(&trees, &step, phase, whose, Box::pin(adapt))
            .await?;
        // Some mounts are unchanged trees of the packages.
        self.packages.materialise(&original.inputs).await
    }

    async fn adapt_now(
        &self,
        build: &Build,
        kernel: &KernelInputs,
        plan: &ProgramPlan,
    ) -> Result<Work, Halt> {
        self.engine.may_begin(Mode::Run)?;
        self.packages.materialise(&kernel.inputs).await?;
        let (store, unfit) = (self.engine.store.clone(), plan.unfit.clone());
        let to_build = blocking(move || to_build(&store, &unfit)).await;
        let mut built = None;
        if !to_build.is_empty() {
            let request = JobRequest {
                phase: Phase::Prepare,
                toolchain: plan.toolchain.toolchain.clone(),
                script: script::render_programs(&to_build)
                    .map_err(|error| script_failure(&error))?,
                mounts: kernel.mounts(&self.engine.store),
                network: Network::None,
                kvm: false,
            };
            built = Some(self.engine.jobs.run(build, &request).await?);
        }
        let output = built.as_ref().map(|built| built.output.path().to_owned());
        let (store, plan) = (self.engine.store.clone(), plan.clone());
        let adapted = blocking(move || adapt(&store, &plan, output.as_deref())).await;
        let adapted = adapted.map_err(self.engine.stored(Phase::Prepare))?;
        let work = Work::of_facts(&adapted, Phase::Prepare)?;
        Ok(match built {
            Some(built) => built.work(work.result),
            None => work,
        })
    }
}

/// Returns the programs whose sources are complete, numbered by their position in `unfit`.
fn to_build(store: &Store, unfit: &[TreeProgram]) -> Vec<ProgramToBuild> {
    let program = |(number, one): (usize, &TreeProgram)| {
        let place = one.place();
        let folder = store.tree_path(one.tree).join(one.inside().parent()?);
        let folder_inside = place.parent()?.to_str()?.to_owned();
        let sources = one.sources(&folder)?.into_iter();
        Some(ProgramToBuild {
            number,
            sources: sources
                .map(|name| format!("{folder_inside}/{name}"))
                .collect(),
            folder: folder_inside,
        })
    };
    unfit.iter().enumerate().filter_map(program).collect()
}

/// Creates an adapted copy of each tree, with the programs that a job wrote to `output`.
fn adapt(store: &Store, plan: &ProgramPlan, output: Option<&Path>) -> Result<Adapted, FileError> {
    let mut adapted = Adapted {
        trees: Vec::new(),
        rebuilt: BTreeSet::new(),
        newer_libc: BTreeSet::new(),
        emulated: BTreeSet::new(),
    };
    let built = output.map(ForeignFolder::open).transpose()?;
    let trees: BTreeSet<Sha256> = plan.unfit.iter().map(|unfit| unfit.tree).collect();
    for tree in trees {
        adapt_tree(store, tree, plan, built.as_ref(), &mut adapted)?;
    }
    Ok(adapted)
}

/// Creates an adapted copy of one tree.
fn adapt_tree(
    store: &Store,
    tree: Sha256,
    plan: &ProgramPlan,
    built: Option<&ForeignFolder>,
    adapted: &mut Adapted,
) -> Result<(), FileError> {
    let work = store.temporary_folder()?;
    let into = work.path().join("tree");
    link_all(&store.tree_path(tree), &into)?;
    let mut runtimes = BTreeSet::new();
    for (number, one) in plan.unfit.iter().enumerate() {
        if one.tree != tree {
            continue;
        }
        let place = one.place();
        let path = into.join(one.inside());
        let new = Path::new(script::PROGRAMS).join(number.to_string());
        // Without an output file, the program could not be compiled.
        let new = built.and_then(|output| output.read(&new, MOST_PROGRAM_BYTES).ok());
        if let Some(content) = new {
            replace(&path, &content)?;
            adapted.rebuilt.insert(place);
            continue;
        }
        let runtime = one
            .program
            .architecture
            .and_then(|machine| Some((machine, plan.runtimes.get(&machine)?)));
        let Some((machine, image)) = runtime else {
            continue;
        };
        let base = Path::new(&one.mount)
            .join(OWN_FOLDER)
            .join(machine.as_str());
        if runtimes.insert((one.mount.clone(), machine)) {
            let folder = into.join(&base);
            image::extract_runtime(&image.archive, machine, plan.host, &folder)?;
        }
        let aside = path
            .parent()
            .unwrap_or(&path)
            .join(OWN_FOLDER)
            .join(path.file_name().unwrap_or_default());
        if let Some(folder) = aside.parent() {
            fs::create_folder(folder)?;
        }
        fs::rename(&path, &aside)?;
        let shown = |path: &Path| {
            let mount = into.join(&one.mount);
            shown_at(&one.mount).join(path.strip_prefix(&mount).unwrap_or(path))
        };
        let (aside, base) = (shown(&aside), shown(&into.join(&base)));
        replace(&path, wrapper(machine, plan.host, &base, &aside).as_bytes())?;
        if machine == plan.host {
            adapted.newer_libc.insert(place);
        } else {
            adapted.emulated.insert(place);
        }
    }
    let digest = tree_digest_of_folder(&into).map_err(|error| {
        let error = std::io::Error::other(error.to_string());
        FileError::of("read", &into)(error)
    })?;
    store.put_tree(&into, digest)?;
    adapted.trees.push((tree, digest));
    Ok(())
}

impl ProgramPlan {
    /// The key over everything that can change the trees; the programs that can be compiled follow from them.
    fn key(&self, kernel: &KernelInputs) -> KeyBuilder {
        let key = KeyBuilder::new("host programs", 1)
            .field("host", self.host)
            .field("toolchain", self.toolchain.toolchain.identity())
            .field("template", script::template_of_programs());
        let key = self.runtimes.iter().fold(key, |key, (machine, image)| {
            key.field(format!("programs of {machine} run by"), image.identity())
        });
        let key = self
            .unfit
            .iter()
            .fold(key, |key, one| key.field("program", one.place().display()));
        kernel.add_to_key(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, architecture: Architecture, libc: (u32, u32)) -> TreeProgram {
        TreeProgram {
            tree: Sha256::of("tree"),
            mount: "usr/src/x".into(),
            program: HostProgram {
                path: format!("scripts/mod/{name}").into(),
                architecture: Some(architecture),
                libc: Some(libc),
            },
        }
    }

    #[test]
    fn programs_for_another_machine_or_a_newer_library_cannot_run() {
        use Architecture::{Amd64, Arm64};
        let old = program("modpost", Amd64, (2, 34));
        assert!(!old.cannot_run(Amd64, Some((2, 34))) && !old.cannot_run(Amd64, None));
        assert!(old.cannot_run(Amd64, Some((2, 31))) && old.cannot_run(Arm64, None));
    }

    #[test]
    fn the_sources_of_a_program_must_be_complete() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| fs::write(&folder.path().join(name), "").unwrap();
        for name in [
            "modpost.c",
            "file2alias.c",
            "empty.c",
            "mk_elfconfig.c",
            "x.h",
        ] {
            put(name);
        }
        let modpost = program("modpost", Architecture::Arm64, (2, 17));
        assert_eq!(modpost.sources(folder.path()), None);
        put("devicetable-offsets.h");
        let names = ["file2alias.c", "modpost.c"].map(str::to_owned);
        assert_eq!(modpost.sources(folder.path()), Some(names.to_vec()));
        let other = program("conf", Architecture::Arm64, (2, 17));
        put("conf.c");
        assert_eq!(other.sources(folder.path()), None);
    }
}
