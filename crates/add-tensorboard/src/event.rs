//! Events: what TensorBoard shows, each with a time and a training step.

use crate::wire::{self, Read, fields};

/// One entry of an event file.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Seconds since 1970.
    pub wall_time: f64,
    /// The training step that it belongs to.
    pub step: u64,
    /// What it says.
    pub what: What,
}

/// What an event says.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// The first event of every file.
    Version,
    /// A run starts, or starts again, at the event's step: of what TensorBoard has already read of this run, it forgets
    /// everything from that step on.
    Start,
    /// Values of one step.
    Summary(Vec<Value>),
}

/// A named value.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Its name; TensorBoard groups names by what stands before the first `/`.
    pub tag: String,
    /// What it is.
    pub content: Content,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A number; TensorBoard keeps single precision.
    Scalar(f32),
    /// A PNG file and its size in pixels.
    Picture {
        /// Pixels from left to right.
        width: u32,
        /// Pixels from top to bottom.
        height: u32,
        /// The whole file.
        png: Vec<u8>,
    },
    /// A text in Markdown.
    Text(String),
}

/// `Event.file_version`.
const VERSION: &[u8] = b"brain.Event:2";
/// `SessionLog.SessionStatus.START`.
const START: u64 = 1;
/// `DataType.DT_STRING`.
const STRING: u64 = 7;
/// `DataClass.DATA_CLASS_TENSOR`.
const TENSOR: u64 = 2;
/// Colour space of a picture: RGB.
const RGB: u64 = 3;

impl Event {
    /// The protobuf message `tensorboard.Event`.
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Vec::new();
        wire::double(&mut to, 1, self.wall_time);
        wire::integer(&mut to, 2, self.step);
        match &self.what {
            What::Version => wire::bytes(&mut to, 3, VERSION),
            What::Start => wire::message(&mut to, 7, |log| wire::integer(log, 1, START)),
            What::Summary(values) => wire::message(&mut to, 5, |summary| {
                for value in values {
                    wire::message(summary, 1, |to| value.encode(to));
                }
            }),
        }
        to
    }

    /// Reads what [`encode`](Self::encode) writes; `None` for a damaged message or one that says something else. Values of
    /// other kinds are left out.
    pub fn decode(message: &[u8]) -> Option<Self> {
        let (mut wall_time, mut step, mut what) = (0.0, 0, None);
        for field in fields(message)? {
            match field {
                (1, Read::Double(seconds)) => wall_time = seconds,
                (2, Read::Integer(value)) => step = value,
                (3, Read::Bytes(_)) => what = Some(What::Version),
                (5, Read::Bytes(summary)) => {
                    let values = messages(summary, 1)?;
                    what = Some(What::Summary(values.into_iter().filter_map(Value::decode).collect()));
                }
                (7, Read::Bytes(log)) if fields(log)?.contains(&(1, Read::Integer(START))) => {
                    what = Some(What::Start);
                }
                _ => {}
            }
        }
        Some(Self { wall_time, step, what: what? })
    }
}

impl Value {
    /// A number.
    pub fn scalar(tag: impl Into<String>, value: f32) -> Self {
        Self { tag: tag.into(), content: Content::Scalar(value) }
    }

    /// A text, for TensorBoard's page of texts.
    pub fn text(tag: &str, text: impl Into<String>) -> Self {
        Self { tag: format!("{tag}/text_summary"), content: Content::Text(text.into()) }
    }

    /// The message `tensorboard.Summary.Value`.
    fn encode(&self, to: &mut Vec<u8>) {
        wire::bytes(to, 1, self.tag.as_bytes());
        match &self.content {
            Content::Scalar(value) => wire::float(to, 2, *value),
            Content::Picture { width, height, png } => wire::message(to, 4, |image| {
                wire::integer(image, 1, (*height).into());
                wire::integer(image, 2, (*width).into());
                wire::integer(image, 3, RGB);
                wire::bytes(image, 4, png);
            }),
            Content::Text(text) => {
                wire::message(to, 8, |tensor| {
                    wire::integer(tensor, 1, STRING);
                    // One string in a list of one.
                    wire::message(tensor, 2, |shape| {
                        wire::message(shape, 2, |dimension| wire::integer(dimension, 1, 1));
                    });
                    wire::bytes(tensor, 8, text.as_bytes());
                });
                wire::message(to, 9, |metadata| {
                    wire::message(metadata, 1, |plugin| wire::bytes(plugin, 1, b"text"));
                    wire::integer(metadata, 4, TENSOR);
                });
            }
        }
    }

    fn decode(message: &[u8]) -> Option<Self> {
        let (mut tag, mut content) = (String::new(), None);
        for field in fields(message)? {
            match field {
                (1, Read::Bytes(name)) => tag = text(name),
                (2, Read::Float(value)) => content = Some(Content::Scalar(value)),
                (4, Read::Bytes(image)) => content = Some(picture(image)?),
                (8, Read::Bytes(tensor)) => {
                    content = messages(tensor, 8)?.first().map(|bytes| Content::Text(text(bytes)));
                }
                _ => {}
            }
        }
        Some(Self { tag, content: content? })
    }
}

fn picture(image: &[u8]) -> Option<Content> {
    let (mut size, mut png) = ([0; 2], Vec::new());
    for field in fields(image)? {
        match field {
            (side @ (1 | 2), Read::Integer(pixels)) => {
                size[side as usize - 1] = u32::try_from(pixels).ok()?;
            }
            (4, Read::Bytes(file)) => png = file.to_vec(),
            _ => {}
        }
    }
    Some(Content::Picture { width: size[1], height: size[0], png })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The fields of number `field` that are messages, strings or bytes.
fn messages(from: &[u8], field: u64) -> Option<Vec<&[u8]>> {
    let bytes = fields(from)?.into_iter().filter_map(|(number, value)| match value {
        Read::Bytes(bytes) if number == field => Some(bytes),
        _ => None,
    });
    Some(bytes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_read_back() {
        let values = vec![
            Value::scalar("loss/g", -1.5),
            Value {
                tag: "samples".to_owned(),
                content: Content::Picture { width: 300, height: 20, png: vec![0x89, 0, 255] },
            },
            Value::text("recipe", "seed: 7, // ä"),
        ];
        for (step, what) in [(0, What::Version), (12, What::Start), (1 << 40, What::Summary(values))] {
            let event = Event { wall_time: 1_764_415_543.25, step, what };
            assert_eq!(Event::decode(&event.encode()), Some(event));
        }
    }

    #[test]
    fn no_damage_panics() {
        let what = What::Summary(vec![Value::scalar("a", 1.0), Value::text("b", "c")]);
        let bytes = Event { wall_time: 1.0, step: 300, what }.encode();
        for at in 0..bytes.len() {
            let _ = Event::decode(&bytes[..at]);
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let _ = Event::decode(&damaged);
            }
        }
    }
}
