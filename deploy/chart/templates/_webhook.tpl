{{- define "lotest.webhookFlags" -}}
{{- $name := include "lotest.fullname" . }}
{{- if include "lotest.webhooks" . }}
- --webhook-bind-address=:{{ .Values.webhook.port }}
- --webhook-service={{ $name }}-webhook
{{- if include "lotest.mountedCertificates" . }}
- --webhook-cert-path=/etc/lotest/certificates
{{- else }}
- --webhook-secret={{ $name }}-webhook-certs
{{- end }}
- --webhook-configuration={{ ternary (printf "%s-validating" $name) "0" .Values.webhook.enabled }}
{{- else }}
- --webhook-bind-address=0
{{- end }}
{{- end }}
