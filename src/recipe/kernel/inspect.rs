//! Inspects a kernel's trees: which directories a job sees, which one is passed to make, what the tree says about
//! itself, and whether it belongs to the wanted kernel.

use std::sync::Arc;

use crate::digest::{KeyBuilder, Sha256};
use crate::engine::Engine;
use crate::engine::halt::{Halt, Mode};
use crate::engine::work::Work;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fs::blocking;
use crate::kernel::Kernel;
use crate::recipe::kernel::packages::{Input, Packages};
use crate::recipe::kernel::tree::{Inspection, KernelInputs, shown_at};
use crate::recipe::kernel::view::{View, WantedTree, tree_facts};
use crate::target::BuildFolder;
use crate::verify::{KernelTreeFacts, read_symvers};

/// Inspects kernels' trees.
pub(crate) struct Inspector {
    engine: Arc<Engine>,
    packages: Arc<Packages>,
}

impl Inspector {
    pub(crate) fn new(engine: Arc<Engine>, packages: Arc<Packages>) -> Self {
        Self { engine, packages }
    }

    /// Inspects the trees of a kernel; trees of another kernel are a failure. Looks first at the paths given by the
    /// rules of the target, then everywhere in the packages.
    pub(crate) async fn inspect(
        &self,
        wanted: &WantedTree,
        inputs: &[Input],
        mode: Mode,
    ) -> Result<Inspection, Halt> {
        let BuildFolder { names, search } = &wanted.build_folder;
        let mut at_expected = None;
        if !(names.is_empty() && search.is_empty()) {
            match self.inspect_expected(wanted, inputs, mode).await {
                Err(Halt::Failed(failed)) if failed.failure.class == FailureClass::WrongHeaders => {
                    // A fault of an existing tree is more useful than the fact that there is no other tree.
                    let says_more = failed.failure.message != wanted.is_missing();
                    at_expected = says_more.then_some(failed);
                }
                inspected => return inspected,
            }
        }
        let mut key = KeyBuilder::new("find tree", 1);
        for name in names {
            key = key.field("kernel folder", name.display());
        }
        for release in &wanted.uts_releases {
            key = key.field("kernel release", release);
        }
        match (
            self.look(wanted, inputs, mode, key, View::look_everywhere)
                .await,
            at_expected,
        ) {
            (Err(Halt::Failed(_)), Some(failed)) => Err(Halt::Failed(failed)),
            (inspected, _) => inspected,
        }
    }

    /// Inspects the trees only at the paths given by the rules of the target.
    async fn inspect_expected(
        &self,
        wanted: &WantedTree,
        inputs: &[Input],
        mode: Mode,
    ) -> Result<Inspection, Halt> {
        let mut key = KeyBuilder::new("inspect", 4);
        for name in &wanted.build_folder.names {
            key = key.field("kernel folder", name.display());
        }
        for glob in wanted.build_folder.search {
            key = key.field("kernel folder like", glob);
        }
        if !wanted.build_folder.search.is_empty() {
            for release in &wanted.uts_releases {
                key = key.field("kernel release", release);
            }
        }
        self.look(wanted, inputs, mode, key, View::look_inside)
            .await
    }

    /// Runs `look` on the trees, as a step whose key begins with `key`.
    async fn look(
        &self,
        wanted: &WantedTree,
        inputs: &[Input],
        mode: Mode,
        mut key: KeyBuilder,
        look: fn(&View) -> Result<Inspection, Halt>,
    ) -> Result<Inspection, Halt> {
        for glob in wanted.target.mount_points() {
            key = key.field("mount point", glob);
        }
        let trees: Vec<Sha256> = inputs.iter().map(|input| input.tree).collect();
        for tree in &trees {
            key = key.field("tree", tree);
        }
        let work = async {
            self.packages.materialise(inputs).await?;
            let view = View {
                engine: self.engine.clone(),
                wanted: wanted.clone(),
                trees: trees.clone(),
            };
            match blocking(move || look(&view)).await {
                Ok(inspection) => Work::of_facts(&inspection, Phase::Unpack),
                Err(halt) => Err(halt.of_step(trees)),
            }
        };
        let done = self
            .engine
            .step(mode, Phase::Unpack, key, Box::pin(work))
            .await?;
        done.facts(Phase::Unpack)
    }

    /// Returns the symbols that the kernel exports to modules, if its tree lists them.
    pub(crate) async fn symvers(&self, kernel: &KernelInputs) -> Result<Option<String>, Halt> {
        if !kernel.inspection.facts.has_symvers {
            return Ok(None);
        }
        let mut mounts = kernel.inspection.mounts.iter();
        let found = mounts.find_map(|(tree, path)| {
            let inside = kernel.build_folder.strip_prefix(shown_at(path)).ok()?;
            Some((self.engine.store.tree_path(*tree), path.join(inside)))
        });
        let Some((root, inside)) = found else {
            return Ok(None);
        };
        // The file existed when the tree was inspected.
        let read = blocking(move || read_symvers(&root, &inside)).await;
        tree_facts(&self.engine, read).map(Some)
    }
}

/// Fails if a tree identifies itself as another kernel than the wanted one.
pub(crate) fn check_claims(
    kernel: &Kernel,
    uts_releases: &[String],
    facts: &KernelTreeFacts,
) -> Result<(), Failure> {
    let wrong = |message| {
        Err(Failure::new(
            FailureClass::WrongHeaders,
            Phase::Unpack,
            message,
        ))
    };
    if !uts_releases.contains(&facts.uts_release) {
        return wrong(format!(
            "the header tree is of kernel {}, not {}: check the packages named for {kernel}",
            facts.uts_release,
            uts_releases.join(" or ")
        ));
    }
    match facts.architecture {
        Some(architecture) if architecture != kernel.architecture => wrong(format!(
            "the header tree is for {architecture}, not {}: check the packages named for {kernel}",
            kernel.architecture
        )),
        _ => Ok(()),
    }
}
