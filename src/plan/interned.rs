//! Values that many builds share, stored once: 51,472 builds have only a few different settings.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::BuildSettings;
use crate::driver::Artifact;

/// Values that many builds share.
#[derive(Default)]
pub(super) struct Interned {
    settings: HashMap<BuildSettings, Arc<BuildSettings>>,
    artifacts: BTreeMap<Vec<Artifact>, Arc<[Artifact]>>,
    texts: HashMap<String, Arc<str>>,
}

impl Interned {
    pub(super) fn settings(&mut self, settings: BuildSettings) -> Arc<BuildSettings> {
        let shared = self
            .settings
            .entry(settings)
            .or_insert_with_key(|settings| Arc::new(settings.clone()));
        Arc::clone(shared)
    }

    pub(super) fn artifacts(&mut self, artifacts: &[Artifact]) -> Arc<[Artifact]> {
        if let Some(shared) = self.artifacts.get(artifacts) {
            return Arc::clone(shared);
        }
        let shared: Arc<[Artifact]> = artifacts.into();
        self.artifacts
            .insert(artifacts.to_vec(), Arc::clone(&shared));
        shared
    }

    pub(super) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.texts.get(text) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = text.into();
        self.texts.insert(text.to_owned(), Arc::clone(&shared));
        shared
    }
}
