//! Finds the program in what an expert said.

/// Words behind the fence of a block in Python.
const PYTHON: [&str; 3] = ["python", "python3", "py"];

/// The program of a reply: its last fenced block in Python, else its last fenced block without a
/// language, else, where nothing is fenced, all of it. A block that the end of the reply cuts off
/// counts. `None` where that is blank.
pub fn find(reply: &str) -> Option<String> {
    let blocks = blocks(reply);
    let last = |wanted: &dyn Fn(&str) -> bool| {
        blocks
            .iter()
            .rfind(|block| wanted(&block.language) && !block.code.trim().is_empty())
    };
    let found = last(&|language| PYTHON.contains(&language)).or_else(|| last(&str::is_empty));
    let code = match found {
        Some(block) => block.code.clone(),
        None if blocks.is_empty() => reply.trim_matches('\n').trim_end().to_owned(),
        None => return None,
    };
    (!code.trim().is_empty()).then_some(code)
}

struct Block {
    /// In lower case.
    language: String,
    code: String,
}

/// The fenced blocks, by CommonMark's rule: the fence that closes is of the same character and at
/// least as long as the one that opens.
fn blocks(reply: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, usize, Block)> = None;
    for line in reply.lines() {
        let (fence, rest) = split_fence(line);
        match &mut open {
            Some((opening, _, _)) if rest.trim().is_empty() && is_closing(fence, opening) => {
                blocks.extend(open.take().map(|(_, _, block)| block));
            }
            Some((_, indent, block)) => {
                // A block in a list is indented as a whole.
                let blank = line.len() - line.trim_start_matches(' ').len();
                block.code.push_str(&line[blank.min(*indent)..]);
                block.code.push('\n');
            }
            None if fence.len() >= 3 => {
                let language = rest.split_whitespace().next().unwrap_or_default();
                let block = Block {
                    language: language.to_lowercase(),
                    code: String::new(),
                };
                let indent = line.len() - line.trim_start_matches(' ').len();
                open = Some((fence, indent, block));
            }
            None => {}
        }
    }
    blocks.extend(open.map(|(_, _, block)| block));
    blocks
}

/// A line's fence, empty where it has none, and what follows.
fn split_fence(line: &str) -> (&str, &str) {
    let line = line.trim_start();
    let Some(mark @ ('`' | '~')) = line.chars().next() else {
        return ("", line);
    };
    line.split_at(line.len() - line.trim_start_matches(mark).len())
}

fn is_closing(fence: &str, opening: &str) -> bool {
    fence.len() >= opening.len() && fence.chars().next() == opening.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_block_in_python_is_the_program() {
        for (reply, expected) in [
            ("print(1)\n", Some("print(1)")),
            ("  \n", None),
            ("Here:\n```python\nprint(1)\n```\nDone.", Some("print(1)\n")),
            ("```py\na = 1\n```\n```Python\nb = 2\n```", Some("b = 2\n")),
            ("```python\na = 1\n```\n```\noutput\n```", Some("a = 1\n")),
            ("```\nx = 1\n```\n```text\ny\n```", Some("x = 1\n")),
            ("```sh\nls\n```", None),
            ("```python\nif a:\n    b()", Some("if a:\n    b()\n")),
            (
                "1. So:\n   ```python\n   if a:\n       b()\n   ```",
                Some("if a:\n    b()\n"),
            ),
            (
                "~~~python\ns = '''\n```\n'''\n~~~",
                Some("s = '''\n```\n'''\n"),
            ),
            ("````python\n```\n````", Some("```\n")),
            ("```python\n```", None),
            ("```python\nпривет = 'ä'\n```", Some("привет = 'ä'\n")),
        ] {
            assert_eq!(find(reply).as_deref(), expected, "{reply:?}");
        }
    }
}
