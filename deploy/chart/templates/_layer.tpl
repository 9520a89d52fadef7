{{- /* The values of this cluster's layer. */}}
{{- define "lotest.layerValues" -}}
{{- $none := (include "lotest.settings" . | fromJson).none }}
{{- mergeOverwrite $none (deepCopy (.Values.layer.values | default dict)) | toYaml }}
{{- end }}

{{- /*
The files of this cluster's layer, as {ConfigMap: {key: path}}. The keys of a ConfigMap have no slashes; the paths in the volume
that joins them do.
*/}}
{{- define "lotest.layerFiles" -}}
{{- $name := printf "%s-layer" (include "lotest.fullname" .) }}
{{- $maps := dict }}
{{- if ne (include "lotest.layerValues" .) "{}" }}{{ $_ := set $maps $name (dict "values.yaml" "values.yaml") }}{{ end }}
{{- range $folder := list "templates" "rules" }}
{{- $files := dict }}
{{- range $file, $_ := index $.Values.layer $folder }}{{ $_ := set $files $file (printf "%s/%s" $folder $file) }}{{ end }}
{{- if $files }}{{ $_ := set $maps (printf "%s-%s" $name $folder) $files }}{{ end }}
{{- end }}
{{- $files := dict }}
{{- range $case, $parts := .Values.layer.golden }}
{{- range $file, $_ := $parts }}
{{- $_ := set $files (printf "%s.%s" ($case | replace "/" ".") $file) (printf "golden/%s/%s" $case $file) }}
{{- end }}
{{- end }}
{{- if $files }}{{ $_ := set $maps (printf "%s-golden" $name) $files }}{{ end }}
{{- $maps | toJson }}
{{- end }}

{{- /* Text as it is, anything else as YAML. */}}
{{- define "lotest.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toYaml . }}{{ end }}
{{- end }}
