"""Convolutional layers and inputs for them, for the laws that hold for every layer."""

from fdl import nn

CASES = {
    "Conv of few channels": (nn.Conv(3, (2, 3), 2), ((2, 5, 4, 3),)),
    "Conv of many channels": (nn.Conv(2, 3, padding="VALID", dilation=(1, 2)), ((2, 4, 5, 6),)),
    "Conv over one axis": (nn.Conv(3, 2, 2, ((1, 0),)), ((2, 5, 3),)),
    "Conv over three axes": (nn.Conv(2, (2, 3, 1), padding="CIRCULAR"), ((2, 3, 4, 2, 5),)),
    "Conv by groups": (nn.Conv(6, 3, groups=2, padding="REFLECT"), ((2, 4, 3, 4),)),
    "DepthwiseConv": (nn.DepthwiseConv(3, 2), ((2, 5, 4, 3),)),
    "DepthwiseConv with a multiplier": (nn.DepthwiseConv(2, multiplier=2), ((2, 5, 3),)),
    "SeparableConv": (nn.SeparableConv(4, 3), ((2, 4, 3, 3),)),
    "ConvTranspose": (nn.ConvTranspose(3, 3, 2), ((2, 3, 2, 4),)),
    "ConvTranspose by groups": (nn.ConvTranspose(4, 2, 2, ((1, 0),), groups=2, output_padding=1), ((2, 4, 6),)),
    "MaxPool": (nn.MaxPool(2, padding="SAME"), ((2, 5, 4, 2),)),
    "AvgPool": (nn.AvgPool(3, 2), ((2, 5, 4, 2),)),
    "AvgPool that counts padding": (nn.AvgPool(2, padding="SAME", count_include_pad=True), ((2, 5, 2),)),
    "GlobalMaxPool": (nn.GlobalMaxPool(), ((2, 3, 2, 2),)),
    "GlobalAvgPool": (nn.GlobalAvgPool(), ((2, 3, 2),)),
    "AdaptiveMaxPool": (nn.AdaptiveMaxPool(2), ((2, 5, 2),)),
    "AdaptiveAvgPool": (nn.AdaptiveAvgPool((3, 2)), ((2, 5, 4, 2),)),
    "Upsample": (nn.Upsample(2), ((2, 3, 2, 2),)),
    "Upsample by interpolation": (nn.Upsample(method="linear", size=(5, 4)), ((2, 3, 2, 2),)),
    "Parallel": (nn.Parallel(nn.Conv(2, 1), nn.Sequential(nn.Conv(2, 3), nn.relu), nn.relu), ((2, 3, 3, 2),)),
}
