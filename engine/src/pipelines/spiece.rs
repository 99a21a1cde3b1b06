//! T5's tokenizer from `spiece.model`, the only form in which LTX-Video's folders have it: SentencePiece's unigram
//! pieces and normalisation, the hundred sentinels and `</s>` at the end, as transformers' T5Tokenizer sets them up.
//!
//! Unigram models only.

use prost::Message;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::Precompiled;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Error, Tokenizer};

/// Tokens that T5 was pre-trained with and that no piece stands for.
const SENTINELS: usize = 100;
const UNIGRAM: i32 = 1;
const SPACE: char = '\u{2581}';

/// The parts of SentencePiece's ModelProto that are needed, by its field numbers.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Normalizer>,
}

#[derive(Clone, PartialEq, Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct Trainer {
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(int32, optional, tag = "40")]
    unknown: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct Normalizer {
    #[prost(bytes = "vec", optional, tag = "2")]
    characters: Option<Vec<u8>>,
}

/// The tokenizer of the bytes of a `spiece.model`.
pub(super) fn tokenizer(bytes: &[u8]) -> Result<Tokenizer, Error> {
    let model = Model::decode(bytes)?;
    let trainer = model.trainer.unwrap_or_default();
    if trainer.model_type.unwrap_or(UNIGRAM) != UNIGRAM {
        return Err("not a unigram model".into());
    }
    let unknown = usize::try_from(trainer.unknown.unwrap_or(0))?;
    let sentinels: Vec<String> = (0..SENTINELS).rev().map(|i| format!("<extra_id_{i}>")).collect();
    let pieces =
        model.pieces.into_iter().map(|p| (p.piece.unwrap_or_default(), f64::from(p.score.unwrap_or(0.0))));
    let vocabulary: Vec<_> = pieces.chain(sentinels.iter().map(|s| (s.clone(), 0.0))).collect();
    let end = vocabulary.iter().position(|(piece, _)| piece == "</s>").ok_or("no piece `</s>`")?;

    let mut tokenizer = Tokenizer::new(Unigram::from(vocabulary, Some(unknown), false)?);
    let characters = model.normalizer.and_then(|n| n.characters).unwrap_or_default();
    if !characters.is_empty() {
        tokenizer.with_normalizer(Some(Precompiled::from(&characters)?))?;
    }
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![
        WhitespaceSplit.into(),
        Metaspace::new(SPACE, PrependScheme::Always, true).into(),
    ])));
    let template = TemplateProcessing::builder()
        .try_single("$A </s>")?
        .special_tokens(vec![("</s>", u32::try_from(end)?)])
        .build()?;
    tokenizer.with_post_processor(Some(template));
    let special = ["<pad>", "</s>", "<unk>"].into_iter().map(str::to_owned).chain(sentinels);
    tokenizer.add_special_tokens(special.map(|token| AddedToken::from(token, true)))?;
    Ok(tokenizer)
}
