{{- define "lotest.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /*
What most objects are called; short enough for what is added to it. Every template begins with it, so here it is said that the
values are those of another chart.
*/}}
{{- define "lotest.fullname" -}}
{{- if not (hasKey .Values "crd") }}
{{- fail "there are no defaults for the values of this chart: `helm upgrade --reuse-values` takes those of the chart that was installed before. Use --reset-then-reuse-values" }}
{{- end }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}{{ $name = .Release.Name }}{{ else }}{{ $name = printf "%s-%s" .Release.Name $name }}{{ end }}
{{- default $name .Values.fullnameOverride | trunc 48 | trimSuffix "-" }}
{{- end }}

{{- define "lotest.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "lotest.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* A Deployment's selector cannot be changed: these must stay as they are. */}}
{{- define "lotest.selectorLabels" -}}
app.kubernetes.io/name: {{ include "lotest.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The operator's pods, and not those of the collector. */}}
{{- define "lotest.operatorLabels" -}}
{{ include "lotest.selectorLabels" . }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "lotest.serviceAccountName" -}}
{{- $default := ternary (include "lotest.fullname" .) "default" .Values.serviceAccount.create }}
{{- default $default .Values.serviceAccount.name }}
{{- end }}

{{- define "lotest.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "lotest.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The namespaces whose tests are looked after, as a JSON list; none is the whole cluster. */}}
{{- define "lotest.namespaces" -}}
{{- $namespaces := .Values.watchNamespaces | default list | uniq }}
{{- if not (or $namespaces .Values.k8s.clusterRole.enabled) }}{{ $namespaces = list .Release.Namespace }}{{ end }}
{{- $namespaces | toJson }}
{{- end }}

{{- /* Whether the operator serves webhooks: not empty is yes. */}}
{{- define "lotest.webhooks" -}}
{{- if or .Values.crd.install .Values.webhook.enabled }}yes{{ end }}
{{- end }}

{{- /* Whether cert-manager makes the certificates. */}}
{{- define "lotest.certManager" -}}
{{- $asked := and .Values.webhook.enabled .Values.webhook.certManager.enabled (not .Values.webhook.existingSecret) }}
{{- if and $asked (.Capabilities.APIVersions.Has "cert-manager.io/v1") }}yes{{ end }}
{{- end }}

{{- /* The Secret whose certificates are mounted; empty when the operator makes its own. */}}
{{- define "lotest.mountedCertificates" -}}
{{- if include "lotest.webhooks" . }}
{{- if .Values.webhook.existingSecret }}{{ .Values.webhook.existingSecret }}
{{- else if include "lotest.certManager" . }}{{ include "lotest.fullname" . }}-webhook-certs
{{- end }}
{{- end }}
{{- end }}
