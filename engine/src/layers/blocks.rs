//! The blocks of a network, which are alike and follow each other: all in memory, or each read while the one before it
//! computes. It knows nothing of what a block does.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use crate::error::Error;
use crate::weights::{Reading, Source};

/// What can be one of many.
pub(crate) trait Block: Send {
    /// Numbers that are held.
    fn held(&self) -> usize;
}

/// Those of a network's blocks that are here.
#[derive(Debug)]
pub(crate) struct Blocks<B>(Kept<B>);

enum Kept<B> {
    All(Vec<B>),
    /// None: each is made anew whenever its turn comes.
    None(Maker<B>),
}

struct Maker<B> {
    here: Range<usize>,
    make: Box<dyn Fn(usize) -> Result<B, Error> + Send + Sync>,
    /// Numbers in memory, and the most that there were.
    now: AtomicUsize,
    most: AtomicUsize,
}

impl<B> fmt::Debug for Kept<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(blocks) => write!(f, "{} blocks", blocks.len()),
            Self::None(maker) => write!(f, "blocks {:?} of a file", maker.here),
        }
    }
}

impl<B: Block> Blocks<B> {
    /// Walks over the names of all `count` blocks, and reads those that are `here`, at once or later as `source` says.
    ///
    /// # Errors
    /// Those of `make`, for whichever block.
    pub(crate) fn load(
        source: &mut Source,
        count: usize,
        here: Range<usize>,
        make: impl Fn(&mut Source, usize) -> Result<B, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let reading = source.reading();
        let mut blocks = Vec::new();
        for i in 0..count {
            if reading == Reading::All && here.contains(&i) {
                blocks.push(make(source, i)?);
            } else {
                source.without_data(|source| make(source, i))?;
            }
        }
        if reading != Reading::ButBlocks {
            return Ok(Self(Kept::All(blocks)));
        }
        let files = source.again(Reading::All);
        let make = Box::new(move |i| make(&mut files.again(Reading::All), i));
        Ok(Self(Kept::None(Maker { here, make, now: AtomicUsize::new(0), most: AtomicUsize::new(0) })))
    }

    /// Shows each of them to `each`, in order and counted from the first that is here.
    ///
    /// # Errors
    /// Those of `each`, which end the walk; `OutOfMemory` where there is no room for a block.
    pub(crate) fn walk(&self, mut each: impl FnMut(usize, &B) -> Result<(), Error>) -> Result<(), Error> {
        match &self.0 {
            Kept::All(blocks) => blocks.iter().enumerate().try_for_each(|(i, block)| each(i, block)),
            Kept::None(maker) => maker.walk(each),
        }
    }

    /// Whether they stay in memory.
    #[cfg(feature = "cuda")]
    pub(crate) fn are_here(&self) -> bool {
        matches!(self.0, Kept::All(_))
    }

    /// How many are here.
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Kept::All(blocks) => blocks.len(),
            Kept::None(maker) => maker.here.len(),
        }
    }

    /// Numbers that are held; of blocks that come and go, the most that there were at once.
    pub(crate) fn held(&self) -> usize {
        match &self.0 {
            Kept::All(blocks) => blocks.iter().map(Block::held).sum(),
            Kept::None(maker) => maker.most.load(Ordering::Relaxed),
        }
    }
}

impl<B: Block> Maker<B> {
    fn walk(&self, mut each: impl FnMut(usize, &B) -> Result<(), Error>) -> Result<(), Error> {
        thread::scope(|scope| {
            // Without room for one that waits: while the next is made nobody has more than the one that computes.
            let (give, take) = sync_channel(0);
            scope.spawn(move || {
                for i in self.here.clone() {
                    let made = (self.make)(i).inspect(|block| self.came(block));
                    let ends = made.is_err();
                    // Nobody takes it when the walk ended with the block before.
                    if let Err(left) = give.send(made) {
                        left.0.iter().for_each(|block| self.goes(block));
                        return;
                    }
                    if ends {
                        return;
                    }
                }
            });
            for i in 0..self.here.len() {
                // A maker that panicked takes this thread with it at the end of the scope.
                let Ok(made) = take.recv() else { break };
                let block = made?;
                let seen = each(i, &block);
                self.goes(&block);
                drop(block);
                seen?;
            }
            Ok(())
        })
    }

    fn came(&self, block: &B) {
        let now = self.now.fetch_add(block.held(), Ordering::Relaxed) + block.held();
        self.most.fetch_max(now, Ordering::Relaxed);
    }

    fn goes(&self, block: &B) {
        self.now.fetch_sub(block.held(), Ordering::Relaxed);
    }
}
