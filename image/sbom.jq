# From `cargo metadata` to CycloneDX. Dependencies for tests and for build scripts are in no program; macros are
# listed, since what they write is. The crates of this repository are the application, all of them.
($checksums | split("\n") | map(split(" ") | {key: .[0], value: .[1]}) | from_entries) as $checksums
| ($crates | split("\n") | map({key: ., value: true}) | from_entries) as $crates
| (.packages | map(select($crates["\(.name)@\(.version)"])) | map({key: .id, value: .}) | from_entries) as $packages
| (.resolve.nodes | map({
    key: .id,
    value: [.deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg | select($packages[.])] | unique
  }) | from_entries) as $direct
| ($direct | map_values([.[] | if $packages[.].source then . else $direct[.][] end] | unique)) as $needs
| .resolve.root as $root
| def reached($known; $new):
    if $new == [] then $known
    else ($known + $new | unique) as $all
      | reached($all; [$new[] | $needs[.][]] | unique | map(select(. as $id | $all | index($id) | not)))
    end;
  def purl: "pkg:cargo/\(.name)@\(.version)";
  def component($type):
    . as $package
    | $checksums["\(.name)@\(.version)"] as $checksum
    | {type: $type, "bom-ref": purl, purl: purl, name, version}
    + (if .license then {licenses: [{expression: (.license | gsub("\\s*/\\s*"; " OR "))}]} else {} end)
    + (if .repository then {externalReferences: [{type: "vcs", url: .repository}]} else {} end)
    + (if $checksum then {hashes: [{alg: "SHA-256", content: $checksum}]} else {} end);
  reached([]; [$root]) as $ids
| {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {component: ($packages[$root] | component("application"))},
    components: [$ids[] | select(. != $root) | $packages[.] | component("library")] | sort_by(."bom-ref"),
    dependencies: [$ids[] | {ref: ($packages[.] | purl), dependsOn: [$needs[.][] | $packages[.] | purl] | sort}] | sort_by(.ref)
  }
