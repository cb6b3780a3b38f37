{{/* The name of nearly everything. Operators' commands name the Deployment, so it does not follow the release. */}}
{{- define "periscope.name" -}}
periscope
{{- end }}

{{- define "periscope.selector" -}}
app.kubernetes.io/name: periscope
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "periscope.labels" -}}
{{ include "periscope.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "periscope.serviceAccount" -}}
{{- default (include "periscope.name" .) .Values.serviceAccount.name }}
{{- end }}

{{/* The claim of the audit database, or nothing. */}}
{{- define "periscope.auditClaim" -}}
{{- if and .Values.audit.enabled .Values.audit.persistence.enabled -}}
{{- default "periscope-audit" .Values.audit.persistence.existingClaim -}}
{{- end }}
{{- end }}

{{/* auth.yaml: what is empty is left out, so that the program's defaults hold. */}}
{{- define "periscope.authYAML" -}}
{{- $auth := dict }}
{{- range $section := list "oidc" "session" "authorization" }}
{{- $kept := dict }}
{{- range $key, $value := index $.Values.auth $section }}
{{- if $value }}{{- $_ := set $kept $key $value }}{{- end }}
{{- end }}
{{- if and (eq $section "oidc") $.Values.auth.clientSecretRef.name }}
{{- $_ := set $kept "clientSecret" "${OIDC_CLIENT_SECRET}" }}
{{- end }}
{{- $_ := set $auth $section $kept }}
{{- end }}
{{- toYaml $auth }}
{{- end }}
