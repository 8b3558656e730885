"""Families of timm's networks: the smallest of each of its modules, and those of other heads and sizes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A network of timm.

    Attributes:
        module: timm's module that it is in.
        name: timm's name of it.
        parameters: Number of its parameters, with the head that it was pretrained with.
        size_px: Side of the pictures in pixels that it is tried with; None, the default, for its own. Those
            that take any are tried with small ones.
    """

    module: str
    name: str
    parameters: int
    size_px: int | None = None

    @property
    def key(self) -> str:
        """The name in the table, with the size where it is not the network's own."""
        return self.name if self.size_px is None else f"{self.name} at {self.size_px}"


FAMILIES = (
    Family("beit", "beit_base_patch16_224", 86530984),
    Family("byoanet", "halonet_h1", 8100056, 128),
    Family("byoanet", "halonet_h1", 8100056, 256),
    Family("byobnet", "test_byobnet", 456856, 128),
    Family("cait", "cait_xxs24_224", 11956264),
    Family("coat", "coat_tiny", 5498540),
    Family("convit", "convit_tiny", 5710512),
    Family("convmixer", "convmixer_768_32", 21110248, 128),
    Family("convnext", "test_convnext", 272128, 128),
    Family("cpubone", "cpubone_nano", 6519700, 128),
    Family("crossvit", "crossvit_tiny_240", 7014800),
    Family("csatv2", "csatv2", 11103444, 128),
    Family("cspnet", "cs3darknet_focus_s", 3274728, 128),
    Family("cspnext", "cspnext_tiny", 2733700, 128),
    Family("davit", "davit_tiny", 28360168, 128),
    Family("deepseek_vit", "deepseek_vit_412m", 411842560, 112),
    Family("deit", "deit_tiny_distilled_patch16_224", 5910800),
    Family("deit", "deit_tiny_patch16_224", 5717416),
    Family("densenet", "densenet121", 7978856, 128),
    Family("dla", "dla46x_c", 1068440, 128),
    Family("dpn", "dpn48b", 9126226, 128),
    Family("edgenext", "edgenext_xx_small", 1327216, 128),
    Family("efficientformer", "efficientformer_l1", 12289928),
    Family("efficientformer_v2", "efficientformerv2_s0", 3600256),
    Family("efficientnet", "test_efficientnet", 356196, 128),
    Family("efficientvim", "efficientvim_m1", 6679458, 128),
    Family("efficientvim", "efficientvim_m1_dist", 7643462, 128),
    Family("efficientvit_mit", "efficientvit_b0", 3410008, 128),
    Family("efficientvit_msra", "efficientvit_m0", 2349436),
    Family("eva", "eva02_tiny_patch14_336", 5756584),
    Family("eva", "eva02_tiny_patch14_336", 5756584, 112),
    Family("eva", "vit_tiny_patch16_dinov3_qkvb", 5489664),
    Family("fasternet", "fasternet_t0", 3905500, 128),
    Family("fastvit", "fastvit_t8", 4026232, 128),
    Family("focalnet", "focalnet_tiny_srf", 28427116, 128),
    Family("gcvit", "gcvit_xxtiny", 11995428),
    Family("gemma4_vit", "gemma4_vit_167m", 167364608, 128),
    Family("gemma4_vit", "gemma4_vit_167m_enc", 167364608, 128),
    Family("ghostnet", "ghostnet_050", 2587292, 128),
    Family("hardcorenas", "hardcorenas_b", 5176544, 128),
    Family("hgnet", "hgnetv2_b0", 5996550, 128),
    Family("hiera", "hiera_tiny_224", 27910216),
    Family("hieradet_sam2", "sam2_hiera_tiny", 26851008, 128),
    Family("hrnet", "hrnet_w18_small", 13187464, 128),
    Family("iformer", "iformer_t", 2886456, 128),
    Family("inception_next", "inception_next_atto", 4156520, 128),
    Family("inception_resnet_v2", "inception_resnet_v2", 55843464, 128),
    Family("inception_v3", "inception_v3", 23834568, 128),
    Family("inception_v4", "inception_v4", 42679816, 128),
    Family("lcnetv2", "lcnetv2_small", 4128552, 128),
    Family("levit", "levit_128s", 7777058),
    Family("levit", "levit_128s", 7777058, 192),
    Family("levit", "levit_256d", 26210788),
    Family("lowformer", "lowformer_b0", 14100472, 128),
    Family("mambaout", "test_mambaout", 447560, 128),
    Family("maxxvit", "test_coatnet", 575480),
    Family("metaformer", "caformer_s18", 26341656, 128),
    Family("metaformer", "poolformerv2_s12", 11891712, 128),
    Family("mlp_mixer", "gmlp_ti16_224", 5867328),
    Family("mobilenetv3", "mobilenetv3_small_050", 1593224, 128),
    Family("mobilenetv5", "mobilenetv5_base", 82647976, 128),
    Family("mobilevit", "mobilevit_xxs", 1272024, 128),
    Family("mvitv2", "mvitv2_tiny", 24173320),
    Family("naflexvit", "naflexvit_base_patch16_parfac_gap", 86461672, 128),
    Family("nasnet", "nasnetalarge", 88753150, 128),
    Family("nest", "nest_tiny", 17057608),
    Family("nextvit", "nextvit_small", 31763368, 128),
    Family("nfnet", "test_nfnet", 383080, 128),
    Family("pit", "pit_ti_224", 4847272),
    Family("pnasnet", "pnasnet5large", 86057668, 128),
    Family("pvt_v2", "pvt_v2_b0", 3666760, 128),
    Family("qwen3_vit", "qwen3_vit_88m", 87414528, 128),
    Family("rdnet", "rdnet_tiny", 23863008, 128),
    Family("regnet", "regnetx_002", 2684792, 128),
    Family("repghost", "repghostnet_050", 2313968, 128),
    Family("repvit", "repvit_m1", 5485248, 128),
    Family("res2net", "res2next50", 24671464, 128),
    Family("resnest", "resnest14d", 10611688, 128),
    Family("resnet", "test_resnet", 469688, 128),
    Family("resnetv2", "resnetv2_18", 11687720, 128),
    Family("rexnet", "rexnet_100", 4796873, 128),
    Family("selecsls", "selecsls42", 30354952, 128),
    Family("senet", "legacy_seresnet18", 11778592, 128),
    Family("sequencer", "sequencer2d_s", 27651688),
    Family("shvit", "shvit_s1", 6330808, 128),
    Family("sknet", "skresnet18", 11958056, 128),
    Family("starnet", "starnet_s050", 542728, 128),
    Family("swiftformer", "swiftformer_xs", 3475360),
    Family("swin_transformer", "swin_tiny_patch4_window7_224", 28288354),
    Family("swin_transformer", "swin_tiny_patch4_window7_224", 28288354, 160),
    Family("swin_transformer_v2", "swinv2_tiny_window8_256", 28347154),
    Family("swin_transformer_v2_cr", "swinv2_cr_tiny_224", 28332124),
    Family("tiny_vit", "tiny_vit_5m_224", 12082725, 128),
    Family("tnt", "tnt_s_legacy_patch16_224", 23755336),
    Family("tresnet", "tresnet_m", 31389032, 128),
    Family("twins", "twins_svt_small", 24060776),
    Family("vgg", "vgg11", 132863336, 128),
    Family("visformer", "visformer_tiny", 10321368),
    Family("vision_transformer", "test_vit", 371240),
    Family("vision_transformer", "test_vit", 371240, 64),
    Family("vision_transformer", "test_vit", 371240, 70),
    Family("vision_transformer", "vit_small_patch14_dinov2", 22056192, 112),
    Family("vision_transformer_hybrid", "vit_tiny_r_s16_p8_224", 6337704),
    Family("vision_transformer_relpos", "test_vit_relpos", 850147),
    Family("vision_transformer_relpos", "test_vit_relpos", 850147, 96),
    Family("vision_transformer_sam", "samvit_base_patch16_224", 86457064),
    Family("vitamin", "vitamin_small_224", 22173376),
    Family("volo", "volo_d1_224", 26632040),
    Family("vovnet", "ese_vovnet19b_slim_dw", 1897752, 128),
    Family("xception", "legacy_xception", 22855952, 128),
    Family("xception_aligned", "xception41p", 26907752, 128),
    Family("xcit", "xcit_nano_12_p8_224", 3049016),
)
