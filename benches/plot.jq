# The results of `make bench` at their scales, as an SVG: jq -rf benches/plot.jq results.json

# The points of a kind: those whose name is prefix, a number, suffix.
def points($results; $prefix; $suffix):
  [$results[] | select((.name | startswith($prefix)) and (.name | endswith($suffix)))
    | {x: (.name | ltrimstr($prefix) | rtrimstr($suffix) | tonumber?), y: .value} | select(.x)]
  | sort_by(.x);

def round2: . * 100 | round / 100;

# One curve over a logarithmic scale of numbers.
def panel($results; $n; $title; $prefix; $suffix; $unit; $xs):
  points($results; $prefix; $suffix) as $points
  | (($points | map(.y) | max // 1) * 1.2) as $top
  | ([1, ($points | map(.x) | max // 10)] | max | log10) as $right
  | def x: 60 + (log10 / ([$right, 0.001] | max)) * 230;
    def y: 210 - . / $top * 150;
  "<g transform='translate(\($n * 340) 0)'>",
  "<text x='60' y='30' class='title'>\($title)</text>",
  "<path d='M60 60V210H300' class='axis'/>",
  "<polyline class='curve' points='\([$points[] | "\(.x | x | round2),\(.y | y | round2)"] | join(" "))'/>",
  ($points[]
    | "<circle cx='\(.x | x | round2)' cy='\(.y | y | round2)' r='4'/>",
      "<text x='\(.x | x | round2)' y='\((.y | y) - 10 | round2)' class='value'>\(.y)</text>",
      "<text x='\(.x | x | round2)' y='228' class='value'>\(.x)</text>"),
  "<text x='180' y='250' class='value'>\($xs)</text>",
  "<text x='52' y='52' class='value'>\($unit)</text>",
  "</g>";

. as $results
| "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 1380 270' font-family='sans-serif' font-size='12'>",
  "<style>.title{font-weight:bold}.axis{fill:none;stroke:#888}.curve{fill:none;stroke:#2a6fb0;stroke-width:2}circle{fill:#2a6fb0}.value{text-anchor:middle}</style>",
  "<rect width='100%' height='100%' fill='#fff'/>",
  panel($results; 0; "CPU of the operator, tests run to the end"; "to-the-end/"; "-tests/cpu"; "s"; "tests"),
  panel($results; 1; "Resident memory, tests run to the end"; "to-the-end/"; "-tests/resident"; "MiB"; "tests"),
  panel($results; 2; "One pod event, by the workers of its test"; "event/"; "-workers"; "µs"; "workers"),
  panel($results; 3; "One pod event, by the tests there are"; "event/"; "-tests"; "µs"; "tests"),
  "</svg>"
