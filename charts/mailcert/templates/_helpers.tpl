{{- define "mailcert.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "mailcert.fullname" -}}
{{- include "mailcert.rawFullname" . | replace "." "-" }}
{{- end }}

{{- define "mailcert.rawFullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := include "mailcert.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "mailcert.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mailcert.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mailcert.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "mailcert.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "mailcert.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "mailcert.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name must be set when serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "mailcert.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "mailcert.subject" -}}
- kind: ServiceAccount
  name: {{ include "mailcert.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- /* mailcert's own kinds: what is declared is read, what was found out is written. */}}
{{- define "mailcert.ownRules" -}}
- apiGroups: [mailcert.dev]
  resources: [mailissuers]
  verbs: [list, watch]
# Patch: the finalizer of one whose TLSA records go with it.
- apiGroups: [mailcert.dev]
  resources: [maildomains]
  verbs: [list, watch, patch]
# A MailDomain's template becomes a MailCertificate; delete: one whose MailDomain is disabled.
- apiGroups: [mailcert.dev]
  resources: [mailcertificates]
  verbs: [list, watch, create, patch, delete]
# Patch: the finalizer of one whose ConfigMaps go with it.
- apiGroups: [mailcert.dev]
  resources: [mailtrustbundles]
  verbs: [list, watch, patch]
- apiGroups: [mailcert.dev]
  resources: [maildomains/status, mailcertificates/status, mailissuers/status, mailtrustbundles/status]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
# An issuer's allowedNamespaces may select namespaces by label.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end }}

{{- /* What the operator touches for a certificate, only in namespaces where it is bound. */}}
{{- define "mailcert.namespacedRules" -}}
# Certificates, their revisions, ACME account keys; delete: revisions beyond history.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
# Patch: the certificate's fingerprint in the pod template.
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets]
  verbs: [get, list, watch, patch]
{{- if .Values.dns01.dnsEndpoint.enabled }}
# TXT records of DNS-01 challenges, and TLSA records, for external-dns.
- apiGroups: [externaldns.k8s.io]
  resources: [dnsendpoints]
  verbs: [get, list, create, update, delete]
{{- end }}
{{- if .Values.trustBundles.enabled }}
# Sources and targets of MailTrustBundles; delete: deletionPolicy Delete.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- if .Values.reload.exec.enabled }}
# Reloads in place. Patch: an annotation that has the kubelet bring a changed Secret in at once. Get: API servers before
# 1.35 ask for no more to run a command.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, patch]
- apiGroups: [""]
  resources: [pods/exec]
  verbs: [get, create]
{{- else if .Values.probe.perPod.enabled }}
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- end }}
{{- if .Values.rollout.disruptionBudgets.enabled }}
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list]
{{- end }}
{{- if .Values.dane.configMap.enabled }}
# TLSA records for others to publish.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, update, delete]
{{- end }}
{{- if .Values.activation.jobs.enabled }}
# Jobs that a MailCertificate's activation names.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, create, delete]
{{- end }}
{{- if .Values.certManager.enabled }}
- apiGroups: [cert-manager.io]
  resources: [certificaterequests]
  verbs: [get, create, delete]
{{- end }}
{{- end }}

{{- define "mailcert.bindsAll" -}}
{{- if has "*" .Values.bind.namespaces }}true{{ end }}
{{- end }}
