//! The pages of a column, unpacked here and not by the `parquet` crate: it takes as much memory as a page claims to need, or,
//! with gzip, as much as it turns out to need.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use parquet::{
    basic::{Compression, Encoding},
    column::page::{Page, PageMetadata, PageReader},
    errors::{ParquetError, Result},
    file::{metadata::ColumnChunkMetaData, serialized_reader::SerializedPageReader},
};
use ruzstd::decoding::StreamingDecoder;

use super::Chunks;

/// Bytes that every page may have. A larger one may have [`MOST_RATIO`] times its packed bytes: pictures pack badly, and one
/// page may hold a hundred of them.
const MOST_BYTES: usize = 16 << 20;
const MOST_RATIO: usize = 8;
/// Values that the pages of a group may have together, however few bytes tell them: as many as writers put rows into a group.
/// Pages of more have a byte for each.
const MOST_VALUES: usize = 1 << 20;

/// How the pages of a column are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Not,
    Snappy,
    Gzip,
    Zstd,
}

impl Packing {
    /// The packing that a column states, or its name where it is not read.
    pub(super) fn of(compression: Compression) -> std::result::Result<Self, String> {
        match compression {
            Compression::UNCOMPRESSED => Ok(Self::Not),
            Compression::SNAPPY => Ok(Self::Snappy),
            Compression::GZIP(_) => Ok(Self::Gzip),
            Compression::ZSTD(_) => Ok(Self::Zstd),
            other => Err(other.to_string()),
        }
    }

    fn unpack(self, packed: &[u8]) -> std::result::Result<Vec<u8>, String> {
        let most = MOST_BYTES.max(MOST_RATIO.saturating_mul(packed.len()));
        let failed = |error: &dyn std::fmt::Display| format!("a page cannot be unpacked: {error}");
        let too_many = || format!("a page of {} bytes unpacks into more than {most}", packed.len());
        let limited = |reader: &mut dyn Read| {
            let mut unpacked = Vec::new();
            reader.take(most as u64 + 1).read_to_end(&mut unpacked).map_err(|error| failed(&error))?;
            if unpacked.len() > most { Err(too_many()) } else { Ok(unpacked) }
        };
        match self {
            Self::Not => Ok(packed.to_vec()),
            Self::Snappy => {
                let claimed = snap::raw::decompress_len(packed).map_err(|error| failed(&error))?;
                if claimed > most {
                    return Err(too_many());
                }
                snap::raw::Decoder::new().decompress_vec(packed).map_err(|error| failed(&error))
            }
            Self::Gzip => limited(&mut MultiGzDecoder::new(packed)),
            // No bytes are no frame: a page without values.
            Self::Zstd if packed.is_empty() => Ok(Vec::new()),
            Self::Zstd => limited(&mut StreamingDecoder::new(packed).map_err(|error| failed(&error))?),
        }
    }
}

/// Pages as they lie in the file, one after the other unpacked.
pub(super) struct Pages {
    packed: SerializedPageReader<Chunks>,
    packing: Packing,
    /// Values and bytes of the pages so far.
    values: usize,
    bytes: usize,
    has_dictionary: bool,
}

impl Pages {
    /// The pages of a column of a group of `rows`.
    pub(super) fn new(
        chunks: &std::sync::Arc<Chunks>,
        column: &ColumnChunkMetaData,
        rows: usize,
        packing: Packing,
    ) -> Result<Self> {
        let as_it_lies = column.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
        let packed = SerializedPageReader::new(chunks.clone(), &as_it_lies, rows, None)?;
        Ok(Self { packed, packing, values: 0, bytes: 0, has_dictionary: false })
    }

    /// The page for the crate's decoders, which make room for as many values as it claims, and end the program where its parts do
    /// not fit together.
    fn unpacked(&mut self, page: Page) -> Result<Page> {
        let is_bad = match &page {
            Page::DataPageV2 {
                buf, num_values, num_nulls, def_levels_byte_len, rep_levels_byte_len, ..
            } => {
                let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                levels > buf.len() as u64 || num_nulls > num_values
            }
            Page::DataPage { .. } | Page::DictionaryPage { .. } => false,
        };
        let by_number = matches!(page.encoding(), Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
        if is_bad || page.is_data_page() && by_number && !self.has_dictionary {
            return Err(ParquetError::General("a page does not hold what it says".to_owned()));
        }
        self.has_dictionary |= page.is_dictionary_page();
        let page = if self.packing == Packing::Not { page } else { Self::unpack(self.packing, page)? };
        let (values, bytes) = (page.num_values() as usize, page.buffer().len());
        let (values, most, bytes) = if page.is_dictionary_page() {
            // Each is a length of four bytes, and a text.
            (values, bytes / 4, bytes)
        } else {
            self.values = self.values.saturating_add(values);
            self.bytes = self.bytes.saturating_add(bytes);
            (self.values, self.bytes.max(MOST_VALUES), self.bytes)
        };
        if values > most {
            return Err(ParquetError::General(format!("pages of {bytes} bytes claim {values} values")));
        }
        Ok(page)
    }

    fn unpack(packing: Packing, page: Page) -> Result<Page> {
        let unpack = |packed: &[u8]| packing.unpack(packed).map_err(ParquetError::General);
        Ok(match page {
            Page::DataPage {
                buf,
                num_values,
                encoding,
                def_level_encoding,
                rep_level_encoding,
                statistics,
            } => Page::DataPage {
                buf: unpack(&buf)?.into(),
                num_values,
                encoding,
                def_level_encoding,
                rep_level_encoding,
                statistics,
            },
            Page::DictionaryPage { buf, num_values, encoding, is_sorted } => {
                Page::DictionaryPage { buf: unpack(&buf)?.into(), num_values, encoding, is_sorted }
            }
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                num_nulls,
                num_rows,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed,
                statistics,
            } => Page::DataPageV2 {
                buf: if is_compressed {
                    behind_levels(&buf, [def_levels_byte_len, rep_levels_byte_len], unpack)?
                } else {
                    buf
                },
                num_values,
                encoding,
                num_nulls,
                num_rows,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed: false,
                statistics,
            },
        })
    }
}

/// In pages of version 2 what is packed stands behind the levels.
fn behind_levels(page: &Bytes, levels: [u32; 2], unpack: impl Fn(&[u8]) -> Result<Vec<u8>>) -> Result<Bytes> {
    let levels = levels.iter().map(|&length| length as usize).sum();
    let (levels, packed) = page
        .split_at_checked(levels)
        .ok_or_else(|| ParquetError::EOF("a page is shorter than its levels".to_owned()))?;
    Ok([levels, &unpack(packed)?].concat().into())
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.packed.get_next_page()?;
        page.map(|page| self.unpacked(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.packed.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.packed.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.packed.at_record_boundary()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression as Level, write::GzEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Level::best());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    #[test]
    fn every_packing_is_undone() {
        let text = b"a page a page a page".as_slice();
        assert_eq!(Packing::Not.unpack(text).expect("as it lies"), text);
        assert_eq!(Packing::Gzip.unpack(&gzip(text)).expect("gzip"), text);
        let snappy = snap::raw::Encoder::new().compress_vec(text).expect("snappy");
        assert_eq!(Packing::Snappy.unpack(&snappy).expect("snappy"), text);
        let zstd = ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest);
        assert_eq!(Packing::Zstd.unpack(&zstd).expect("zstd"), text);
        assert_eq!(Packing::Zstd.unpack(b"").expect("nothing"), b"");
    }

    #[test]
    fn a_page_of_much_more_than_its_bytes_is_refused() {
        let bomb = gzip(&vec![0; MOST_BYTES + 1]);
        assert!(Packing::Gzip.unpack(&bomb).expect_err("too much").contains("unpacks into more than"));
        // Snappy states the length first: here 2^31 - 1.
        let claim = [&[0xFF, 0xFF, 0xFF, 0xFF, 0x07], &[0; 8][..]].concat();
        assert!(Packing::Snappy.unpack(&claim).expect_err("too much").contains("unpacks into more than"));
        for packing in [Packing::Snappy, Packing::Gzip, Packing::Zstd] {
            assert!(packing.unpack(b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF").is_err(), "{packing:?}");
        }
    }
}
