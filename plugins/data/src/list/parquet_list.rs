//! A Parquet file with a column of names and one of captions.

use std::sync::Arc;

use add_store::Store;

use super::{Fields, Refusal, Row, SPLIT};
use crate::{
    parquet_file::{ParquetFile, texts},
    sample::Trouble,
};

pub(super) fn read(
    store: &Arc<Store>,
    name: &str,
    fields: &Fields,
    each: &mut dyn FnMut(usize, Row) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let refused = |trouble| match trouble {
        Trouble::Bad(problem) => Refusal::List(problem),
        Trouble::Store(error) => Refusal::Store(error),
    };
    let file = ParquetFile::open(store, name).map_err(refused)?;
    let names = file.columns();
    let (file_name, captions) = fields.choose(&names).map_err(Refusal::List)?;
    let column = |name: &str| file.column(name, &[]).map_err(Refusal::List);
    let (file_column, split) =
        (column(file_name)?, names.contains(&SPLIT).then(|| column(SPLIT)).transpose()?);
    let captions = captions.into_iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let mut number = 0;
    for group in 0..file.groups() {
        let rows = file.rows(group);
        let read = |column: usize| file.read(column, group, 0..rows).map_err(refused);
        let (files, splits) = (read(file_column)?, split.map(read).transpose()?);
        let captions = captions.iter().map(|&column| read(column)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..rows {
            number += 1;
            let one = |values: &[Vec<Vec<u8>>]| texts(&values[row]).map(|mut texts| texts.pop());
            let at_line = |problem: String| Refusal::Line(number, problem);
            let file =
                one(&files).map_err(at_line)?.ok_or_else(|| at_line("it names no picture".to_owned()))?;
            let split = splits.as_deref().map(one).transpose().map_err(at_line)?.flatten();
            let mut all = Vec::new();
            for column in &captions {
                all.extend(texts(&column[row]).map_err(at_line)?);
            }
            each(number, Row { file, captions: Ok(all), split })?;
        }
    }
    Ok(())
}
