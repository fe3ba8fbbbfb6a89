"""The names and words of error answers about a record, a model or a request.

They express a relation ("exceeds", "is longer than", "not enough"), because messages quote prompts and models that only
mention things. Every gap is bounded.

Sources: error pages of OpenAI, Anthropic, Gemini, Azure, Bedrock, DashScope, Volcengine, Zhipu, Moonshot, MiniMax,
DeepSeek, OpenRouter, xAI, Groq, Venice, Together, Mistral; the code of vLLM, SGLang, TGI, llama.cpp, LM Studio, Ollama,
new-api and LiteLLM; public reports of each.
"""

from llmbatch.dialects.account_words import KEY_NAMES, KEY_WORDS
from llmbatch.dialects.wordings import Wording

__all__ = [
    "CONTEXT_NAMES",
    "CONTEXT_WORDS",
    "CRASHED_WORDS",
    "FIELD_WORDS",
    "FILTER_NAMES",
    "FILTER_WORDS",
    "IMPLIED_BY_NAMES",
    "IMPLIED_BY_WORDS",
    "INPUT_WORDS",
    "LONG_CONTEXT_PLAN",
    "MODEL_NAMES",
    "MODEL_WORDS",
    "NO_CHANNEL_WORDS",
    "OVERSIZED_WORDS",
    "REFUSAL_NAMES",
    "REFUSAL_WORDS",
    "UNLOADED_WORDS",
]

# Context length.

CONTEXT_NAMES = Wording(
    r"context(?:length|window|size|overflow|limit)|tokenlimitexceeded",  # OpenAI, LiteLLM, llama.cpp, OpenRouter
    r"(?:prompt|input)(?:is)?toolong",
    r" 1261 ",  # Zhipu
)
_ASKED = r"(?:prompt|inputs?|requests?|messages?|conversation|context|sequence|tokens?|text|document|query)"
_WINDOW = (
    r"(?:context (?:length|window|size|limit)|token limit\b|number of (?:input |prompt )?tokens|limit of \d"
    r"|(?:max|model|session)_\w*(?:len|position|context)\w*|\bn_ctx\b"  # TabbyAPI, SiliconFlow, LMDeploy
    r"|(?:maximum|max|model'?s?|available|allowed) (?:\w+ ){0,3}?"
    r"(?:(?:context|model|prompt|input|sequence|token)s?(?: token)?(?: (?:length|window|size|limit|count))?|length)\b)"
)
CONTEXT_WORDS = Wording(
    # OpenAI, vLLM, SGLang, Mistral, xAI
    r"(?:maximum|max|model'?s?|supported) (?:\w+ ){0,2}?(?:context|model|prompt|sequence|input)s? (?:token )?"
    r"(?:length|window|size|limit)s?\b[^.]{0,40}\d",
    r"context (?:length|window|size) (?:of (?:(?:the|this) )?(?:model )?)?(?:is )?(?:only )?\d",
    r"\b(?:prompt|input|conversation|messages?|context|sequence)s? (?:is |are )?too (?:large|big)\b",
    r"(?<!number of )\b(?:prompt|inputs?|messages?|sequence|text)\b.{0,40} exceed(?:s|ed)? "
    r"(?:(?:the )?max(?:imum)?(?:$| ?\()|\d{3})",
    r"\bmax(?:imum)? (?:prompt|input|context|sequence) (?:length |size )?exceeded",
    r"\b(?:longer|greater|larger|more) than (?:\d[\d,]* (?:input |prompt )?tokens|the (?:model'?s )?context)\b",
    r"\bonly (?:accept|handle|process|support)s? (?:\w+ ){0,2}\d[\d,]* tokens\b",
    # Anthropic, Bedrock, Moonshot, llama.cpp
    rf"(?<!stop )\b{_ASKED}\b.{{0,80}}?\btoo (?:long|(?:large|big) (?:for|to process))",
    # vLLM, SGLang, LM Studio
    rf"\b{_ASKED}\b.{{0,80}}?(?:longer|greater|larger|more) than (?:\w+ ){{0,4}}?{_WINDOW}",
    # Gemini, llama.cpp, Ollama, Moonshot, Copilot, Anthropic, OpenAI's Responses
    rf"(?<!max_)(?<!max)\b{_ASKED}\b.{{0,80}}?\bexceed(?:s|ed|ing)?\b(?: \w+| \S{{1,3}}){{0,3}}? {_WINDOW}",
    # MiniMax, LM Studio, Ollama
    r"context (?:length|window|size|limit)\b.{0,30}\b(?:exceed|overflow|full\b|too small)|context (?:the )?overflow",
    r"\bmax(?:imum)? context (?:length |window |size )?(?:is |was |has been )?reached",
    r"\b(?:prompt|inputs?|requests?|messages?|text) (?:\w+ )?(?:has|have|contains?|is) more tokens than",
    # A count of tokens, and a limit.
    r"\b(?:prompt|inputs?|requests?|messages?|text|sequence|document) "
    r"(?:contains?|has|have|is|needs?|requires?|of|resulted in) (?:about |at least |more than )?"
    r"\d[\d,]* (?:input |prompt )?tokens\b",
    r"\b(?:at most|up to|limited to) \d[\d,]* (?:input |prompt |context )?tokens\b",
    r"\b(?:(?:input|num|prompt|total)_)?tokens?\b.{0,60}\b(?:exceed(?:s|ed|ing)?|over|above)\b.{0,30}\b(?:limit|\d)",
    r"\btokens?\b.{0,60}\b(?:longer|greater|larger|more) than the (?:max|limit|allowed)",
    # YandexGPT, SiliconFlow
    r"\b(?!max)\w*tokens?\b.{0,40}\bmust be (?:no more|less|fewer|at most|smaller|shorter)\b.{0,30}\d",
    r"\b(?:(?:num_|prompt_|input_|total_)?tokens?|context_length|n_ctx)\b.{0,60}> ?\S{0,20} ?\(?\d",
    r"\b(?:text|input|prompt|query|sequence) length\b.{0,20} must be (?:at most|less|no more|shorter|smaller|under)\b",
    r"\b(?:input|prompt|maximum|max|total) (?:tokens?|sequence length)(?: limit)?(?: of \d[\d,]*)? "
    r"(?:(?:has been|was|is) )?exceeded",
    r"\b(?:sequence|input|prompt|context) length\b.{0,40}\b(?:over|above|beyond|exceeds?)\b.{0,30}\blimit",
    r"exceed(?:s|ed|ing)? (?:the )?(?:(?:maximum|max|model'?s?) )+context",
    r"(?:not|no longer|n't) fit\w* (?:in|into|within) .{0,30}\bcontext",
    r"contextwindowexceeded|context_length_exceeded",  # LiteLLM
    r"too many (?:input |prompt |total )?tokens(?!,? please wait)",  # Cohere, Bedrock
    r"\btokens?\b.{0,60}\bexceeds? the model'?s? maximum\b|\btokens?\b.{0,40}> context (?:size|length|window)",
    r"\b(?:prompt|input|sequence) length \d+ > |exceed(?:s|ed)? (?:the )?(?:model token limit|context of \d)",
    rf"\b{_ASKED}\b[^.]{{0,40}}\bexpected maxlength",  # Bedrock
    r"(?:reduce|shorten) (?:the |your )?(?:(?:length|size|number)(?: of)? )?(?:tokens in )?(?:the |your )?"
    r"(?:prompt|input|messages|conversation)\b",  # Groq
    r"\binputs\b\W{0,3}(?:tokens )?.{0,40}must (?:be <=|have less than|not exceed) \d",  # TGI
    r"\binputs? must (?:have|contain) (?:less|fewer|no more) than \d",
    r"string too long\b.{0,60}\bmaximum length \d{5}",  # OpenAI: that of a message, not of a short field
    r"\bmax(?:imum)? input (?:characters?|chars|length)\b.{0,20}\d",  # Qianfan
    r"current length is \d+ while limit is",  # Cerebras
    r"range of input length",  # DashScope
    r"\btokens? to keep from the initial prompt",  # LM Studio
    r"(?:输入|上下文|提示词|文本|消息|prompt|token).{0,20}(?:过长|超长|超过|超出)",  # Zhipu
)
FIELD_WORDS = Wording(r"""\buser['"`]?: """, r"per[ _-]?minute", r"try again later", r"output tokens? (?:limit|exceed)")
"""Errors about a field or the pace, although the message mentions lengths."""
LONG_CONTEXT_PLAN = Wording("required for long context requests")
"""Anthropic's 429 for requests that the plan does not cover."""

# Content filters.

FILTER_NAMES = Wording(
    r"contentfilter|content(?:policy|moderat(?:ion|ed)|safety|violation)|responsibleai",  # OpenAI, Azure, Moonshot
    r"datainspection|sensitive|riskdetection|censor",  # DashScope, Volcengine
    r"moderation(?:failed|blocked|error)|(?:in|out)putmoderated|safety(?:check|filter|violation)| flagged |guardrail",
    r"unsafe|notsafe|prohibitedcontent|inappropriatecontent|policyviolation| (?:bio|cyber)policy ",
    r" baseresp102[67] | 1301 ",  # MiniMax, Zhipu
)
FILTER_WORDS = Wording(
    r"violat\w+ (?:\S+ ){0,6}?(?:polic(?:y|ies)|guidelines?|rules|standards|terms|contentsecurity)",
    r"\b(?:content|usage|safety|moderation) "
    r"(?:filter(?:ing)?|management|polic(?:y|ies)|guidelines?|moderation|inspection|audit|check|system)s?\b",
    r"(?:inappropriate|sensitive|unsafe|harmful|illegal|prohibited|disallowed|objectionable|explicit) (?:\w+ ){0,3}?"
    r"(?:content|information|words?)\b",
    r"\b(?:was|were|been|is|content|input|prompt) flagged\b|flagged (?:as|by|for|categor\w+)\b",  # OpenRouter
    r"\bfail(?:ed|s) (?:the )?(?:\w+ )?moderation\b|\bmoderation (?:\w+ )?(?:blocked|failed|rejected)\b",
    r"\bhate speech\b|\bnot safe\b|potentially harmful",
    r"(?:banned|forbidden) (?:key)?words?\b|malicious (?:content|input|prompt)\b",
    r"\bsafety (?:concerns?|reasons?|issues?|risks?|violations?)\b|prohibited_content",  # Gemini
    r"\b(?:is|was|be|as|too) (?:harmful|unsafe|inappropriate|offensive|nsfw|sensitive|explicit|toxic)\b",
    r"\bnsfw\b|\bcsam\b|jailbreak|prompt injection|copyright|model armor|responsible ai\b",
    r"content (?:(?:that|which) )?(?:is |was )?not (?:allowed|permitted)",
    r"guardrails? (?:\w+ ){0,6}?(?:intervened|blocked|triggered|failed|violat\w+)",  # Bedrock, Portkey
    r"guardrail_triggered|[\"']code[\"']: ?[\"']content_",  # Databricks; errors in the text of LiteLLM's
    r"considered high risk|content (?:exists|has|poses) (?:\w+ )?risks?|new_sensitive",  # Moonshot, DeepSeek, MiniMax
    r"\b(?:content|prompt|keywords?|response|output)\b (?:\w+ ){0,6}?(?:blocked|filtered|banned|censored|moderated)\b",
    r"(?:blocked|rejected|refused|filtered) (?:\S+ ){0,6}?(?:safety|moderation|guardrails?|content|polic(?:y|ies))\b",
    r"contentpolicyviolation|blocked (?:by guardrails?|output)|denied by guardrails?",  # LiteLLM, Cohere, Portkey
    r"敏感|不安全|违规|违禁|内容(?:审核|安全)",  # Zhipu
)

# Content that this model does not take: OpenRouter's and Copilot's 404, llama.cpp's 500.

_MEDIA = (
    r"(?:images?(?:_url)?|vision|(?:input_)?audio|video|files?|pdf|document|media|multi-?modal\w*|modalit(?:y|ies)"
    r"|attachment)s?"
)
INPUT_WORDS = Wording(
    rf"(?:support|accept|handle|process|allow)\w* (?:\w+ ){{0,3}}?{_MEDIA}\b",
    rf"\b{_MEDIA}\b(?: \w+){{0,3}} (?:(?:is |are )?not|isn't|aren't) (?:\w+ )?"
    r"(?:supported|allowed|accepted|available|enabled)",
    rf"(?:invalid|unsupported|corrupt\w*|malformed|unreadable) (?:\w+ ){{0,2}}?{_MEDIA}\b",
    r"(?:cannot|could not|(?:unable|failed) to) (?:\w+ )?(?:load|decode|download|fetch|process|open|read) "
    rf"(?:(?!model)\w+ ){{0,2}}?{_MEDIA}\b",
    r"(?:error|timeout|time-out|timed out|failed) (?:while |when )?(?:downloading|fetching)\b",  # OpenAI
    rf"\b{_MEDIA}\b(?:\(s\))?(?: \w+){{0,3}} (?:is|are) only (?:supported|allowed|accepted|available)",
    rf"\bat most \d+ {_MEDIA}\b",  # vLLM
    rf"(?:not|n't) (?:\w+ ){{0,3}}valid (?:\w+ ){{0,2}}{_MEDIA}\b|\b{_MEDIA} (?:\w+ ){{0,3}}(?:is|are|was) not valid\b",
    r"\bnot an? (?:multi-?modal|vision)\b|unsupported mime type|cannot identify image|document has no pages",
    r"\bfile (?:type|format) \S+ is not supported|\bthe image (?:length|width|height|size)\b",
    r"图片.{0,12}(?:错误|不支持)",  # Zhipu
    rf"unknown variant \W?{_MEDIA}\b",  # DeepSeek
    rf"\b{_MEDIA}\b(?: \w+){{0,3}} (?:exceeds?|too|(?:is|are) (?:too|larger))",
    rf"\b{_MEDIA}\b(?: \w+){{0,3}} must be (?:less|at (?:least|most)|smaller)",
    rf"missing data required for {_MEDIA}\b",  # Ollama
    rf"\b{_MEDIA}\b(?: \w+){{0,3}} (?:does not match|(?:cannot|could not) be (?:processed|decoded|loaded|read|opened))",
    r"(?:cannot|could not|(?:unable|failed) to) (?:fetch|download|retrieve) (?:\w+ ){0,4}(?:url|link)\b",  # DashScope
)

# A model that is not there, for servers that do not use 404.

MODEL_NAMES = Wording(
    r"(?:model|deployment|endpoint)s?(?:is)?(?:not(?:found|exist|open|available|supported|activated|deployed)"
    r"|doesnotexist|decommissioned|deprecated|retired)",  # OpenAI, Volcengine, Groq, Together
    r"(?:invalid|unknown|unsupported|nosuch)model(?:name|id|error)? ",  # Mistral, Perplexity, GitHub
    r" 1211 ",  # Zhipu
)
_MODEL = r"(?:models?(?:[ _](?:name|id|identifier|code))?|deployments?(?: name)?)"
_GONE = (
    r"(?:decommissioned|deprecated|discontinued|retired|removed|shut down|sunset"
    r"|no longer (?:available|supported|served))"
)
NO_CHANNEL_WORDS = Wording(
    r"\bno (?:available )?(?:channel|provider|deployment)s? (?:\w+ ){0,3}?for (?:the )?model\b|模型.{0,40}无可用渠道"
)
"""New-api's and LiteLLM's words for a model that no server behind them has, with a status of their own: 503."""
MODEL_WORDS = Wording(
    rf"\b{_MODEL}(?:[ =:]+\S+| you \w+)?(?: (?:is|was|has been|could|can|does|do))? not "
    r"(?:be )?(?:exist|found|resolved|deployed|available|activated)\b",  # DeepSeek, SiliconFlow, Databricks
    rf"\b{_MODEL}(?: \S+)? (?:(?:is|was|has been) {_GONE}|is unknown\b)",
    rf"\b{_MODEL} (?:is )?(?:invalid|not valid|unknown|incorrect)\b|\bmodel_not_found\b",  # Bedrock
    r"\bmodel[ _](?:name|id|identifier|code) \S+ is (?:invalid|not valid|unknown|incorrect)\b",
    # Hugging Face
    r"\bmodel(?: \S+)? is (?:currently )?not supported (?:by|for) (?:any |the |this )?(?:provider|endpoint|api|key)\b",
    r"(?:requested|specified|selected) model(?: \S+)? is not supported\b",
    rf"(?:unknown|unsupported|no such|invalid|unrecogni[sz]ed) {_MODEL}\b"
    r"(?! (?:config|format|input|option|output|param|response|settings|state))",
    r"not (?:a (?:valid|supported|known)|in the list of \w+) models?\b|on-demand throughput",  # OpenRouter, Bedrock
    r"(?:unable to|cannot|could not|failed to|not) (?:access|activated?|find|resolve) (?:the )?(?:[\w-]+ )?model\b",
    r"not have (?:access|permission) (?:to |for )(?:use )?(?:the )?model\b",
    r"\bno models? (?:named \S+ |are |is )*loaded\b|\bunknown_model\b",  # LM Studio
    r"llm provider not provided|no provider supports (?:the )?model\b",  # LiteLLM
    r"模型.{0,40}(?:不存在|未开通)|模型(?:名称|代码).{0,8}(?:错误|无效)|不支持的模型",  # Zhipu, Volcengine
    NO_CHANNEL_WORDS.pattern,
)

# A model that is there, but not now: LM Studio says so with a 400.

UNLOADED_WORDS = Wording(
    r"\bmodel (?:(?:was|is|has been) )?(?:currently |still )?(?:unloaded|loading)\b|\bloading model\b",
    r"\bmodel has not started loading\b",
)
CRASHED_WORDS = Wording(r"\bmodel (?:has )?crashed\b|\bfailed to load (?:the )?model\b")

# A 500 about the request itself.

REFUSAL_NAMES = Wording(
    r" invalid(?:request|argument|parameter|params|input|prompt|value|type)?(?:error|exception)? ",
    r" badrequest(?:error)? |validation(?:error|exception)|unprocessable|unsupported|notsupported|stringtoolong",
)
REFUSAL_WORDS = Wording(
    r"\bnot supported\b|\bunsupported\b|(?:does not|doesn't|do not|cannot|can't) support|\bonly supports?\b",
    r"\binvalid (?:\w+ )?(?:request|argument|parameter|param|value|input|json|schema|grammar|role|base64)",
    r"(?:failed|unable) to (?:parse|compile|validate) (?:\w+ ){0,2}?"
    r"(?:grammar|messages?|tools?|schema|json|template|input|prompt|request|arguments?)\b",
    r"roles must alternate|chat template|\bunknown (?:role|parameter|field|tool)\b",
    INPUT_WORDS.pattern,
)
OVERSIZED_WORDS = Wording(r"\brequest too large for\b")
"""OpenAI's 429 for a request that is larger than the limit of a whole minute: it never fits."""

# The status that an error inside a 200 would have had.

IMPLIED_BY_NAMES = (
    (429, Wording(r"ratelimit|toomanyrequests|throttl|resourceexhausted| baseresp(?:1002|1039|1041) ")),
    (529, Wording(r"overload|capacity|serverbusy")),
    (503, Wording(r"unavailable")),
    (401, KEY_NAMES),
    (401, Wording(r"unauthori[sz]ed")),
    (403, Wording(r"permission|forbidden|accessdenied")),
    (404, Wording(r"notfound|doesnotexist")),
    (413, Wording(r"toolarge")),
    (504, Wording(r"timeout|timedout|deadlineexceeded| baseresp1001 ")),
    (400, REFUSAL_NAMES),
    (400, Wording(r" baseresp(?:1042|2013) ")),
)
IMPLIED_BY_WORDS = (
    (
        429,
        Wording(
            r"rate[ -]limit|too many requests|requests? too frequent|flow control|请求(?:过于)?频繁|速率限制|并发",
            r"\b(?:request|call|qps|rpm|tpm|query) limit (?:\w+ )?(?:reached|exceeded|hit)",
        ),
    ),
    (401, KEY_WORDS),
    (401, Wording(r"unauthori[sz]ed|not authenticated|authentication (?:failed|required)")),
    (503, Wording(r"overloaded|(?:at|over|no) capacity|service unavailable|server (?:is )?busy|try again later")),
)
