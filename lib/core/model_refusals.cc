#include "lib/core/model_refusals.h"

#include <array>

namespace kvtune {
namespace {

constexpr std::string_view kLatentAttention =
    "multi-head latent attention caches a compressed latent, not keys and values";
constexpr std::string_view kStateSpace = "state-space layers have no keys and values";
constexpr std::string_view kLinearAttention =
    "linear attention layers keep a state, not keys and values";
constexpr std::string_view kConvolution = "convolution layers keep a state, not keys and values";
constexpr std::string_view kRecurrent = "recurrent layers have no keys and values";
constexpr std::string_view kEncoderDecoder =
    "an encoder beside the decoder, with a second cache, is not supported";
constexpr std::string_view kEncoder = "an encoder has no cache";
constexpr std::string_view kNoGeneration =
    "it scores or embeds text and generates none; the checkpoint that it was made from can be "
    "measured";
constexpr std::string_view kLearnedPositions = "learned positions are not supported";
constexpr std::string_view kAlibi = "positions by a bias of the scores (ALiBi) are not supported";
constexpr std::string_view kParallelBias =
    "attention beside the MLP with layer norms that have a bias is not supported";
constexpr std::string_view kSharedCache =
    "layers that share the keys and values of others, or one tensor for both, are not supported";
constexpr std::string_view kChunked = "chunked attention with scaled queries is not supported";
constexpr std::string_view kSigmoidRouter =
    "experts chosen by sigmoid scores with a correction are not supported";
constexpr std::string_view kOtherRouter =
    "its way to choose experts, or experts beside them, is not supported";
constexpr std::string_view kStackedExperts =
    "experts that are stored as one stack, with granite's factors, are not supported";
constexpr std::string_view kOwnActivation =
    "its activation has learned parameters, which is not supported";
constexpr std::string_view kOtherNorm = "norms without weights are not supported";
constexpr std::string_view kTernary =
    "weights of three values with norms inside the blocks are not supported";
constexpr std::string_view kDifferential = "differential attention is not supported";
constexpr std::string_view kNoReference =
    "its code is not part of transformers, so there is nothing to compare with";
constexpr std::string_view kPrefixAttention =
    "a prompt's tokens see those after them, kvtune runs causal decoders";
constexpr std::string_view kOtherMultimodal =
    "its text model is not one that kvtune has compared with transformers";
constexpr std::string_view kUnscaledLogits =
    "transformers scales the logits of its text model alone, and not those of the whole";
constexpr std::string_view kSomeLayers =
    "some of its layers have no attention and no keys and values";
constexpr std::string_view kInternLm2 =
    "its tensors have names and an order of their own; a checkpoint converted to LlamaForCausalLM "
    "can be read";

constexpr auto kRefusals = std::to_array<Refusal>({
    {"DeepseekV2ForCausalLM", kLatentAttention},
    {"DeepseekV3ForCausalLM", kLatentAttention},
    {"DeepseekV32ForCausalLM", kLatentAttention},
    {"DeepseekV4ForCausalLM", kLatentAttention},
    {"MiniCPM3ForCausalLM", kLatentAttention},
    {"Glm4MoeLiteForCausalLM", kLatentAttention},
    {"GlmMoeDsaForCausalLM", kLatentAttention},
    {"LongcatFlashForCausalLM", kLatentAttention},
    {"Mistral4ForCausalLM", kLatentAttention},
    {"YoutuForCausalLM", kLatentAttention},
    {"KimiK2ForCausalLM", kLatentAttention},
    {"Kimi_K25ForConditionalGeneration", kLatentAttention},
    {"DeepseekOcr2ForConditionalGeneration", kLatentAttention},
    {"PLMForCausalLM", kLatentAttention},
    {"MambaForCausalLM", kStateSpace},
    {"Mamba2ForCausalLM", kStateSpace},
    {"FalconMambaForCausalLM", kStateSpace},
    {"FalconH1ForCausalLM", kStateSpace},
    {"JambaForCausalLM", kStateSpace},
    {"BambaForCausalLM", kStateSpace},
    {"ZambaForCausalLM", kStateSpace},
    {"Zamba2ForCausalLM", kStateSpace},
    {"NemotronHForCausalLM", kStateSpace},
    {"GraniteMoeHybridForCausalLM", kStateSpace},
    {"Phi4FlashForCausalLM", kStateSpace},
    {"Plamo2ForCausalLM", kStateSpace},
    {"Qwen3NextForCausalLM", kLinearAttention},
    {"Qwen3_5ForCausalLM", kLinearAttention},
    {"Qwen3_5MoeForCausalLM", kLinearAttention},
    {"Qwen3_5ForConditionalGeneration", kLinearAttention},
    {"Qwen3_5MoeForConditionalGeneration", kLinearAttention},
    {"Qwen4ExpForCausalLM", kLinearAttention},
    {"Qwen4ExpForConditionalGeneration", kLinearAttention},
    {"MiniMaxM1ForCausalLM", kLinearAttention},
    {"MiniMaxText01ForCausalLM", kLinearAttention},
    {"MiniMaxForCausalLM", kLinearAttention},
    {"KimiLinearForCausalLM", kLinearAttention},
    {"OlmoHybridForCausalLM", kLinearAttention},
    {"BailingMoeV2_5ForCausalLM", kLinearAttention},
    {"Lfm2ForCausalLM", kConvolution},
    {"Lfm2MoeForCausalLM", kConvolution},
    {"Lfm2VlForConditionalGeneration", kConvolution},
    {"RecurrentGemmaForCausalLM", kRecurrent},
    {"RwkvForCausalLM", kRecurrent},
    {"xLSTMForCausalLM", kRecurrent},
    {"T5ForConditionalGeneration", kEncoderDecoder},
    {"MT5ForConditionalGeneration", kEncoderDecoder},
    {"UMT5ForConditionalGeneration", kEncoderDecoder},
    {"LongT5ForConditionalGeneration", kEncoderDecoder},
    {"T5GemmaForConditionalGeneration", kEncoderDecoder},
    {"T5Gemma2ForConditionalGeneration", kEncoderDecoder},
    {"BartForConditionalGeneration", kEncoderDecoder},
    {"MBartForConditionalGeneration", kEncoderDecoder},
    {"PegasusForConditionalGeneration", kEncoderDecoder},
    {"M2M100ForConditionalGeneration", kEncoderDecoder},
    {"MarianMTModel", kEncoderDecoder},
    {"SwitchTransformersForConditionalGeneration", kEncoderDecoder},
    {"NllbMoeForConditionalGeneration", kEncoderDecoder},
    {"WhisperForConditionalGeneration", kEncoderDecoder},
    {"Florence2ForConditionalGeneration", kEncoderDecoder},
    {"MllamaForConditionalGeneration", kEncoderDecoder},
    {"MllamaForCausalLM", kEncoderDecoder},
    {"BertForMaskedLM", kEncoder},
    {"BertModel", kEncoder},
    {"RobertaForMaskedLM", kEncoder},
    {"XLMRobertaModel", kEncoder},
    {"XLMRobertaForMaskedLM", kEncoder},
    {"ModernBertForMaskedLM", kEncoder},
    {"DistilBertForMaskedLM", kEncoder},
    {"DistilBertModel", kEncoder},
    {"MPNetForMaskedLM", kEncoder},
    {"NomicBertModel", kEncoder},
    {"DebertaV2ForMaskedLM", kEncoder},
    {"LlamaForSequenceClassification", kNoGeneration},
    {"MistralForSequenceClassification", kNoGeneration},
    {"Qwen2ForSequenceClassification", kNoGeneration},
    {"Qwen3ForSequenceClassification", kNoGeneration},
    {"Gemma2ForSequenceClassification", kNoGeneration},
    {"LlamaModel", kNoGeneration},
    {"MistralModel", kNoGeneration},
    {"Qwen2Model", kNoGeneration},
    {"Qwen3Model", kNoGeneration},
    {"Qwen2ForRewardModel", kNoGeneration},
    {"GPT2LMHeadModel", kLearnedPositions},
    {"OPTForCausalLM", kLearnedPositions},
    {"GPTNeoForCausalLM", kLearnedPositions},
    {"GPTBigCodeForCausalLM", kLearnedPositions},
    {"BioGptForCausalLM", kLearnedPositions},
    {"XGLMForCausalLM", kLearnedPositions},
    {"OpenAIGPTLMHeadModel", kLearnedPositions},
    {"BloomForCausalLM", kAlibi},
    {"MPTForCausalLM", kAlibi},
    {"MptForCausalLM", kAlibi},
    {"BaichuanForCausalLM", kAlibi},
    {"PhiForCausalLM", kParallelBias},
    {"GPTNeoXForCausalLM", kParallelBias},
    {"GPTJForCausalLM", kParallelBias},
    {"CodeGenForCausalLM", kParallelBias},
    {"FalconForCausalLM", kParallelBias},
    {"PersimmonForCausalLM", kParallelBias},
    {"Gemma3nForCausalLM", kSharedCache},
    {"Gemma3nForConditionalGeneration", kSharedCache},
    {"Gemma4ForCausalLM", kSharedCache},
    {"Gemma4ForConditionalGeneration", kSharedCache},
    {"Gemma4UnifiedForConditionalGeneration", kSharedCache},
    {"Gemma4UnifiedForCausalLM", kSharedCache},
    {"Llama4ForCausalLM", kChunked},
    {"Llama4ForConditionalGeneration", kChunked},
    {"Glm4MoeForCausalLM", kSigmoidRouter},
    {"Glm4vMoeForConditionalGeneration", kSigmoidRouter},
    {"Dots1ForCausalLM", kSigmoidRouter},
    {"MiniMaxM2ForCausalLM", kSigmoidRouter},
    {"MiMoV2FlashForCausalLM", kSigmoidRouter},
    {"AfmoeForCausalLM", kSigmoidRouter},
    {"ExaoneMoeForCausalLM", kSigmoidRouter},
    {"SolarOpenForCausalLM", kSigmoidRouter},
    {"BailingMoeV2ForCausalLM", kSigmoidRouter},
    {"HYV3ForCausalLM", kSigmoidRouter},
    {"PhimoeForCausalLM", kOtherRouter},
    {"PhiMoEForCausalLM", kOtherRouter},
    {"Ernie4_5_MoeForCausalLM", kOtherRouter},
    {"HunYuanMoEV1ForCausalLM", kOtherRouter},
    {"JetMoeForCausalLM", kOtherRouter},
    {"DbrxForCausalLM", kOtherRouter},
    {"ArcticForCausalLM", kOtherRouter},
    {"Grok1ModelForCausalLM", kOtherRouter},
    {"Grok1ForCausalLM", kOtherRouter},
    {"GroveMoeForCausalLM", kOtherRouter},
    {"BailingMoeForCausalLM", kOtherRouter},
    {"Qwen3VLMoeForConditionalGeneration", kOtherRouter},
    {"Qwen3OmniMoeThinkerForConditionalGeneration", kOtherRouter},
    {"DeepseekForCausalLM", kOtherRouter},
    {"GraniteMoeForCausalLM", kStackedExperts},
    {"GraniteMoeSharedForCausalLM", kStackedExperts},
    {"ApertusForCausalLM", kOwnActivation},
    {"OlmoForCausalLM", kOtherNorm},
    {"NanoChatForCausalLM", kOtherNorm},
    {"BitNetForCausalLM", kTernary},
    {"BitnetForCausalLM", kTernary},
    {"DiffLlamaForCausalLM", kDifferential},
    {"MiniCPMForCausalLM", kNoReference},
    {"InternLM3ForCausalLM", kNoReference},
    {"InternLMForCausalLM", kNoReference},
    {"QWenLMHeadModel", kNoReference},
    {"ChatGLMModel", kNoReference},
    {"ChatGLMForConditionalGeneration", kNoReference},
    {"ExaoneForCausalLM", kNoReference},
    {"OrionForCausalLM", kNoReference},
    {"XverseForCausalLM", kNoReference},
    {"AquilaForCausalLM", kNoReference},
    {"SkyworkForCausalLM", kNoReference},
    {"TeleChat2ForCausalLM", kNoReference},
    {"YuanForCausalLM", kNoReference},
    {"Phi3SmallForCausalLM", kNoReference},
    {"Phi3VForCausalLM", kNoReference},
    {"MiniCPMV", kNoReference},
    {"MiniCPMO", kNoReference},
    {"InternVLChatModel", kNoReference},
    {"Ovis", kNoReference},
    {"HunYuanForCausalLM", kNoReference},
    {"PaliGemmaForConditionalGeneration", kPrefixAttention},
    {"DiffusionGemmaForBlockDiffusion", kPrefixAttention},
    {"LLaDAModelLM", kPrefixAttention},
    {"DreamModel", kPrefixAttention},
    {"Glm4vForConditionalGeneration", kOtherMultimodal},
    {"Glm46VForConditionalGeneration", kOtherMultimodal},
    {"GlmOcrForConditionalGeneration", kOtherMultimodal},
    {"Emu3ForConditionalGeneration", kOtherMultimodal},
    {"ChameleonForConditionalGeneration", kOtherMultimodal},
    {"JanusForConditionalGeneration", kOtherMultimodal},
    {"Idefics2ForConditionalGeneration", kOtherMultimodal},
    {"FuyuForCausalLM", kOtherMultimodal},
    {"Phi4MultimodalForCausalLM", kOtherMultimodal},
    {"Phi4MMForCausalLM", kOtherMultimodal},
    {"Ernie4_5_VLMoeForConditionalGeneration", kOtherMultimodal},
    {"AriaForConditionalGeneration", kOtherMultimodal},
    {"PerceptionLMForConditionalGeneration", kOtherMultimodal},
    {"Qwen2_5OmniThinkerForConditionalGeneration", kOtherMultimodal},
    {"Qwen2_5OmniModel", kOtherMultimodal},
    {"Qwen2AudioForConditionalGeneration", kOtherMultimodal},
    {"VoxtralForConditionalGeneration", kOtherMultimodal},
    {"GraniteSpeechForConditionalGeneration", kOtherMultimodal},
    {"Ovis2ForConditionalGeneration", kOtherMultimodal},
    {"PaddleOCRVLForConditionalGeneration", kOtherMultimodal},
    {"Exaone4_5_ForConditionalGeneration", kOtherMultimodal},
    {"LightOnOcrForConditionalGeneration", kOtherMultimodal},
    {"MolmoForCausalLM", kOtherMultimodal},
    {"Molmo2ForConditionalGeneration", kOtherMultimodal},
    {"AyaVisionForConditionalGeneration", kUnscaledLogits},
    {"Cohere2VisionForConditionalGeneration", kUnscaledLogits},
    {"DeciLMForCausalLM", kSomeLayers},
    {"InternLM2ForCausalLM", kInternLm2},
});

}  // namespace

std::span<const Refusal> Refusals() { return kRefusals; }

}  // namespace kvtune
