//! Writes the bytes of a download to their destination, and checks them on the way.

use std::io::Write as _;

use tempfile::TempDir;

use super::content::{HEAD_BYTES, is_html};
use super::{Answer, ContentKind};
use crate::digest::{HashingWriter, Sha256};
use crate::fs::PendingFile;
use crate::store::Store;

/// The maximum size of a configuration; those of distributions have about a quarter of a megabyte.
const MOST_TEXT_BYTES: usize = 16 << 20;

/// What is known about a file before it is downloaded.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) kind: ContentKind,
    pub(super) sha256: Option<Sha256>,
    pub(super) size_bytes: Option<u64>,
    pub(super) limit_bytes: u64,
}

impl Wanted {
    /// Whether a file of this size can be the wanted one.
    pub(super) fn check_size(&self, found_bytes: u64) -> Result<(), Answer> {
        match self.size_bytes {
            Some(expected_bytes) if expected_bytes != found_bytes => Err(Answer::Size {
                expected_bytes,
                found_bytes,
            }),
            None if found_bytes > self.limit_bytes => Err(Answer::TooLarge {
                limit_bytes: self.limit_bytes,
            }),
            _ => Ok(()),
        }
    }
}

/// The bytes of one file while they arrive.
pub(super) struct Body {
    sink: Sink,
    head: Vec<u8>,
    /// The whole content, for a kind whose end is checked.
    text: Vec<u8>,
    received_bytes: u64,
    wanted: Wanted,
}

enum Sink {
    Blob {
        writer: HashingWriter<PendingFile>,
        folder: TempDir,
    },
    Memory(Vec<u8>),
}

fn store_answer(error: impl std::fmt::Display) -> Answer {
    Answer::Store(error.to_string())
}

fn pending_in(folder: &TempDir) -> Result<HashingWriter<PendingFile>, Answer> {
    PendingFile::create(&folder.path().join("blob"))
        .map(HashingWriter::new)
        .map_err(store_answer)
}

impl Body {
    /// Collects in a temporary file of the store.
    pub(super) fn for_store(store: &Store, wanted: Wanted) -> Result<Self, Answer> {
        let folder = store.temporary_folder().map_err(store_answer)?;
        let writer = pending_in(&folder)?;
        Ok(Self::new(Sink::Blob { writer, folder }, wanted))
    }

    /// Collects in memory.
    pub(super) fn in_memory(wanted: Wanted) -> Self {
        Self::new(Sink::Memory(Vec::new()), wanted)
    }

    fn new(sink: Sink, wanted: Wanted) -> Self {
        Self {
            sink,
            head: Vec::new(),
            text: Vec::new(),
            received_bytes: 0,
            wanted,
        }
    }

    pub(super) fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Discards everything that was written.
    pub(super) fn reset(&mut self) -> Result<(), Answer> {
        if self.received_bytes > 0 {
            match &mut self.sink {
                Sink::Blob { writer, folder } => *writer = pending_in(folder)?,
                Sink::Memory(bytes) => bytes.clear(),
            }
            self.head.clear();
            self.text.clear();
            self.received_bytes = 0;
        }
        Ok(())
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Answer> {
        self.received_bytes += bytes.len() as u64;
        let limit_bytes = self.wanted.size_bytes.unwrap_or(self.wanted.limit_bytes);
        if self.received_bytes > limit_bytes {
            self.wanted.check_size(self.received_bytes)?;
        }
        if self.head.len() < HEAD_BYTES {
            let missing = (HEAD_BYTES - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..missing]);
            if self.head.len() == HEAD_BYTES {
                self.check_head()?;
            }
        }
        if self.wanted.kind == ContentKind::Configuration {
            self.text.extend_from_slice(bytes);
            if self.text.len() > MOST_TEXT_BYTES {
                return Err(Answer::TooLarge {
                    limit_bytes: MOST_TEXT_BYTES as u64,
                });
            }
        }
        match &mut self.sink {
            Sink::Blob { writer, .. } => writer.write_all(bytes).map_err(store_answer),
            Sink::Memory(memory) => {
                memory.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn check_head(&self) -> Result<(), Answer> {
        let kind = self.wanted.kind;
        if kind.matches(&self.head) {
            Ok(())
        } else if is_html(&self.head) {
            Err(Answer::HtmlPage(kind))
        } else {
            Err(Answer::WrongContent(kind))
        }
    }

    fn check_whole(&self) -> Result<(), Answer> {
        self.check_head()?;
        self.wanted.check_size(self.received_bytes)?;
        if self.wanted.kind.is_cut_off(&self.text) {
            return Err(Answer::CutOff(self.wanted.kind));
        }
        Ok(())
    }

    /// The bytes that were collected in memory, if they are the wanted ones.
    pub(super) fn into_memory(self) -> Result<Vec<u8>, Answer> {
        self.check_whole()?;
        match self.sink {
            Sink::Memory(bytes) => Ok(bytes),
            Sink::Blob { .. } => Err(store_answer("the bytes are in a file")),
        }
    }

    /// Stores the file if it is the wanted one, and returns its digest and size in bytes. Blocks
    /// the thread.
    pub(super) fn into_store(self, store: &Store) -> Result<(Sha256, u64), Answer> {
        self.check_whole()?;
        let Sink::Blob { writer, folder } = self.sink else {
            return Err(store_answer("the bytes are in memory"));
        };
        let (found, size_bytes, pending) = writer.finish();
        match self.wanted.sha256 {
            Some(expected) if expected != found => {
                return Err(Answer::Checksum { expected, found });
            }
            _ if store.has_blob(found) => {}
            _ => pending
                .keep_as(&store.blob_path(found))
                .map_err(store_answer)?,
        }
        drop(folder);
        Ok((found, size_bytes))
    }
}
