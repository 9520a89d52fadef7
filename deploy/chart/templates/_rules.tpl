{{- /* What the operator may do where it looks after tests; a test compares it with `lotest rbac`. */}}
{{- define "lotest.rules" -}}
- apiGroups: [locust.io]
  resources: [locusttests]
  # To remove an old finalizer; to delete what `retention` in the values says.
  verbs: [list, watch, patch, delete]
- apiGroups: [locust.io]
  resources: [locusttests/status]
  verbs: [patch]
# Never called, but the children block the deletion of their test, and where the admission
# plugin OwnerReferencesPermissionEnforcement is on (OpenShift) that takes this right.
- apiGroups: [locust.io]
  resources: [locusttests/finalizers]
  verbs: [update]
# Before it takes a new kind of child the operator asks whether it may (selfsubjectaccessreviews): Kubernetes lets
# everybody ask that of themselves.
# Server-side apply is a patch, and a create where the object is not there yet.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# What each run was started with; deleted when that was refused and the test was corrected.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, create, delete]
- apiGroups: [""]
  resources: [events]
  # Listed for a pod or Job in trouble that only its events explain; created about tests and about the operator's pod.
  verbs: [create, list]
{{- with .Values.rbac.extraRules }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* In its own namespace, where no tests are looked after. */}}
{{- define "lotest.homeRules" -}}
- apiGroups: [""]
  resources: [events]
  # About the operator's pod.
  verbs: [create]
{{- end }}

{{- /* Which of the replicas leads. */}}
{{- define "lotest.leaseRules" -}}
{{- if .Values.leaderElection.enabled }}
# Whoever may create leases may create them under any name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [locust-k8s-operator.locust.io]
  verbs: [get, list, watch, update]
{{- end }}
{{- end }}

{{- /* The certificates of the webhooks. */}}
{{- define "lotest.secretRules" -}}
{{- if and (include "lotest.webhooks" .) (not (include "lotest.mountedCertificates" .)) }}
# The certificates. Whoever may create Secrets may create them under any name; that is all it can do with others.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ include "lotest.fullname" . }}-webhook-certs]
  verbs: [list, watch, update]
{{- end }}
{{- end }}

{{- /* That the API server trusts the certificates: the caBundle of two objects of the whole cluster. */}}
{{- define "lotest.trustRules" -}}
{{- if include "lotest.webhooks" . }}
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames: [locusttests.locust.io]
  {{- if .Values.crd.install }}
  verbs: [list, watch, patch]
  {{- else }}
  # It is another release's: looked at and left alone.
  verbs: [list, watch]
  {{- end }}
{{- end }}
{{- if .Values.webhook.enabled }}
- apiGroups: [admissionregistration.k8s.io]
  resources: [validatingwebhookconfigurations]
  resourceNames: [{{ include "lotest.fullname" . }}-validating]
  verbs: [list, watch, patch]
{{- end }}
{{- end }}

{{- /* A role and its binding: (list root kind namespace name rules). */}}
{{- define "lotest.pair" -}}
{{- $root := index . 0 }}
{{- $kind := index . 1 }}
{{- $namespace := index . 2 }}
{{- $name := index . 3 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: {{ $name }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "lotest.labels" $root | nindent 4 }}
rules:
{{ index . 4 | trim }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  name: {{ $name }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "lotest.labels" $root | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ $name }}
subjects:
- kind: ServiceAccount
  name: {{ include "lotest.serviceAccountName" $root }}
  namespace: {{ $root.Release.Namespace }}
{{- end }}
